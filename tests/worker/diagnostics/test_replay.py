"""Steps of earlier jobs are replayed bit for bit, and measured without a trace."""

import math
from typing import Any

import pytest
import torch
from tests._few import a_few
from tests.worker.diagnostics.replayed import JOB, Original, Watched
from tests.worker.training.jobs import job
from tests.worker.training.resumable import CASES, resumable
from torch import Tensor

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.replay_pb2 import ReplayReport
from talweg.worker import diagnostics
from talweg.worker.training import RecordingReporter, Stop

BF16 = {
    "model": {"mlp": {"hidden": [16, 8], "batch_norm": True, "dropout": 0.3}},
    "training": {"epochs": 3, "accumulation": 3, "precision": "bf16"},
}


# The one moved target of the 266 training rows, 50 sd above the others.
OUTLIER = {
    "preprocessing": {
        "standardise_targets": False,
        "target_outliers": {"share": 0.004, "low_sd": 50, "high_sd": 50},
    },
    "optimizer": {"adamw": {"learning_rate": 0.001}},
}


def same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@pytest.mark.parametrize("name", a_few([*CASES, "bf16, accumulation, dropout"], of=2))
def test_a_step_is_replayed_bit_for_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Original(resumable(name) if name in CASES else job(**BF16))
    assert original.result.state == Job.SUCCEEDED, original.result.message
    last = max(original.losses)
    watched = Watched(monkeypatch)
    # From the initial state, from afar, and from the state right before the step.
    for step, start in ((2, 0), (last // 2, max(0, last // 2 - 3)), (last - 1, last - 2)):
        report = original.replay(step, start=start).report
        assert report.from_step == start
        assert not report.inexact
        assert same(report.loss, original.losses[step])
        assert same(report.gradient_norm, original.norms[step])
        told = {each.step: each.loss for each in report.history}
        assert told == {n: original.losses[n] for n in range(start + 1, step + 1)}
        assert same(report.next_loss, original.losses[step + 1])
        weights = original.weights(step)
        # An evaluation after the step may draw, and the state is kept before it.
        del watched.weights["random/cpu"], weights["random/cpu"]
        watched.assert_is(weights)


def outlier_of(original: Original) -> tuple[int, int]:
    """Return the row whose target was moved, and a step that has it in the second epoch."""
    bundle = original.report.bundle
    assert bundle is not None
    sample = int(bundle.train.y.argmax())
    step = max((s for s in original.losses if 9 < s <= 18), key=original.losses.__getitem__)
    return int(bundle.train_rows[sample]), step


def test_a_rise_of_the_loss_leads_to_the_row() -> None:
    original = Original(job(**OUTLIER))
    row, step = outlier_of(original)
    report = original.replay(step, start=step - 4, without=(row,)).report
    worst, second = report.rows[:2]
    assert worst.row == row
    assert worst.loss > 100 * second.loss
    assert worst.gradient_norm > 10 * second.gradient_norm
    # The mean of the rows' losses is the step's.
    assert report.num_rows == len(report.rows) == 32
    mean = math.fsum(each.loss for each in report.rows) / 32
    assert mean == pytest.approx(report.loss)
    others = math.fsum(each.loss for each in report.rows[1:]) / 31
    assert report.without.rows == [row]
    assert report.without.loss == pytest.approx(others)
    assert report.without.gradient_norm < report.gradient_norm
    assert report.without.HasField("next_loss")
    assert report.without.next_loss != report.next_loss


def test_a_step_without_rows_is_what_the_step_of_the_others_is() -> None:
    """Taken by hand from the same state it has the same loss, and leads to the same next one."""
    spec = job(
        training={"steps": 3, "batch_size": 40},
        optimizer={"sgd": {"learning_rate": 0.1, "momentum": 0}},
        preprocessing={"standardise_inputs": True},
    )
    original = Original(spec)
    report = original.replay(2, start=1).report
    out = report.rows[3].row
    less = original.replay(2, start=1, without=(out,)).report
    assert (less.loss, less.next_loss) == (report.loss, report.next_loss)

    bundle, model = original.report.bundle, original.result.model
    assert bundle is not None
    assert model is not None
    before = original.store.snapshots[1].tensors
    model.load_state_dict({name: before[f"model/{name}"] for name in model.state_dict()})

    def loss_of(step: int, *, but: int = -1) -> Tensor:
        rows = original.replay(step, start=step - 1).report.rows
        samples = [row.sample for row in rows if row.row != but]
        outputs = model(bundle.train.x[samples]).flatten()
        loss: Tensor = (outputs - bundle.train.y[samples]).square().mean()
        return loss

    loss = loss_of(2, but=out)
    assert less.without.loss == pytest.approx(loss.item())
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.sub_(parameter.grad, alpha=0.1)
    assert less.without.next_loss == pytest.approx(loss_of(3).item(), rel=1e-5)


@pytest.mark.parametrize(
    "policy", ["fail", {"skip": {"max_share": 0.9}}, {"rollback": {"keep_every_steps": 2}}]
)
def test_a_refused_step_is_replayed_as_it_was_refused(policy: Any) -> None:
    # Once the loss overflows float32, the guard refuses the steps with the row.
    moved = {"share": 0.004, "low_sd": 1e25, "high_sd": 1e25}
    preprocessing = {"standardise_targets": False, "target_outliers": moved}
    original = Original(job(preprocessing=preprocessing, training={"epochs": 2, "guard": policy}))
    if policy == "fail":
        assert original.result.state == Job.DIVERGED
        assert original.result.divergence is not None
        step, ending = original.result.divergence.step, "training ended here"
    else:
        assert original.result.state == Job.SUCCEEDED, original.result.message
        step = original.report.decisions[-1].seen.step
        ending = "skipped" if "skip" in policy else "rolled back to step"
        assert step > 1
    report = original.replay(step).report
    assert report.loss == math.inf
    assert report.refused.startswith("loss inf")
    assert ending in report.refused
    assert math.isinf(report.rows[0].loss)
    assert report.rows[0].row == outlier_row(original)
    assert all(math.isfinite(row.loss) for row in report.rows[1:])
    for step_after in [n for n in original.losses if n > step][:2]:
        assert same(original.replay(step_after).report.loss, original.losses[step_after])


def test_a_spike_that_was_skipped_is_skipped_again() -> None:
    original = Original(job(**OUTLIER, training={"epochs": 12, "spikes": "skip"}))
    decision = original.report.decisions[-1]
    step = decision.seen.step
    report = original.replay(step, start=step - 3).report
    assert report.refused.endswith("the step was skipped")
    assert report.rows[0].row == outlier_row(original)
    # What it would have led to is not what came next.
    assert report.next_loss == original.losses[step + 1]


def outlier_row(original: Original) -> int:
    bundle = original.report.bundle
    assert bundle is not None
    return int(bundle.train_rows[int(bundle.train.y.argmax())])


def test_layers_are_measured() -> None:
    original = Original(job(model={"mlp": {"hidden": [16, 8]}}))
    report = original.replay(4, start=2).report
    names = [layer.name for layer in report.layers]
    assert len(names) == 3
    total = math.hypot(*(layer.gradient_norm for layer in report.layers))
    assert total == pytest.approx(report.gradient_norm)
    before, after = original.store.snapshots[3].tensors, original.store.snapshots[4].tensors
    for layer in report.layers:
        was = [before[f"model/{layer.name}.{name}"].double() for name in ("weight", "bias")]
        now = [after[f"model/{layer.name}.{name}"].double() for name in ("weight", "bias")]
        assert layer.weight_norm == pytest.approx(norm_of(was))
        moved = [a - b for a, b in zip(now, was, strict=True)]
        assert layer.update_norm == pytest.approx(norm_of(moved), rel=1e-4)
        assert layer.output_bad == 0
        assert layer.output_max >= abs(layer.output_mean)
        assert layer.output_sd > 0


def norm_of(tensors: list[Tensor]) -> float:
    return math.hypot(*(tensor.norm().item() for tensor in tensors))


def test_nothing_of_the_original_is_told_again() -> None:
    original = Original(job())
    told = original.replay(5, start=2).told
    assert [set(values) for _, values in told.points] == [{"replay/loss", "replay/grad_norm"}]
    assert told.lines == [f"Replays step 5 of {JOB} from the checkpoint of step 2."]
    assert not told.warnings
    assert told.tables.keys() == {"replay_rows", "replay_layers", "replay_steps"}
    rows = told.tables["replay_rows"].columns
    assert len(rows["row"]) == 32
    assert original.replay(5).told.lines == [f"Replays step 5 of {JOB} from the initial state."]


def test_rows_that_are_not_in_the_step_are_refused() -> None:
    original = Original(job())
    rows = {row.row for row in original.replay(5).report.rows}
    stranger = min(set(range(442)) - rows)
    result = original.replay(5, without=(stranger,)).result
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert f"row {stranger} is not in step 5" in result.message
    result = original.replay(5, without=tuple(sorted(rows))).result
    assert "at least one row" in result.message


def test_a_step_behind_the_end_is_refused() -> None:
    original = Original(job())
    result = original.replay(28).result
    assert result.state == Job.FAILED
    assert "replay.step must be <= 27" in result.message
    # The last one has no step after it.
    assert not original.replay(27).report.HasField("next_loss")


class StopsAt:
    """Stops a run after some checks."""

    def __init__(self, count: int) -> None:
        self._left = count

    def check(self) -> Stop | None:
        self._left -= 1
        return Stop("cancel", "enough") if self._left <= 0 else None


def test_it_can_be_cancelled() -> None:
    spec = job()
    spec.replay.job, spec.replay.step = JOB, 20
    result = diagnostics.run(spec, report=RecordingReporter(), control=StopsAt(3), device="cpu")
    assert (result.state, result.cause) == (Job.CANCELLED, Outcome.CANCEL_REQUEST)


def test_a_loss_that_compares_rows_tells_what_each_adds() -> None:
    original = Original(resumable("metric learning, pairs that are drawn"))
    report = original.replay(4, start=2).report
    assert report.measure == ReplayReport.LEFT_OUT
    worst = report.rows[0]
    less = original.replay(4, start=2, without=(worst.row,)).report
    # Leaving it out lowers the loss by what it is said to add; there is neither dropout nor
    # normalisation.
    assert less.without.loss == pytest.approx(report.loss - worst.loss, rel=1e-4)
