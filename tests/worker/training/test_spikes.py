"""Steps that are finite and far out of line: warn, skip, rollback."""

import json
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import job, run
from tests.worker.training.poisoned import BATCH_NORM, same
from tests.worker.training.spiked import FAMILIES, OF_BATCHES, ROW, Spiked, bad_step, spec

from talweg.spec import divergence_lines
from talweg.v1.jobs_pb2 import Divergence, GuardDecision, Job, Warning
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.spec_pb2 import Training
from talweg.v1.spikes_pb2 import Spikes
from talweg.worker.training import Stop
from talweg.worker.training.guard.spike_policies import MOST_TOLD, POLICIES

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
every_family = pytest.mark.parametrize("task", FAMILIES)
BLIND = {"warn": {"threshold": 1e6, "max_growth": 1e18}}
SKIP = {"skip": {"max_share": 0.5}}
ROLLBACK = {"rollback": {"keep_every_steps": 7, "max_times": 9}}


def points_of(made: Spiked) -> list[tuple[int, dict[str, float]]]:
    """Return the points of a run, but for the clock and what is said of spikes."""
    points = [
        (step, {n: v for n, v in values.items() if not n.startswith(("throughput/", "spikes/"))})
        for step, values in made.report.points
    ]
    return [(step, values) for step, values in points if values]


def test_all_families_are_here() -> None:
    assert FAMILIES.keys() == {name.lower() for name in TaskKind.keys()[1:]}


def test_every_policy_has_its_class() -> None:
    assert POLICIES.keys() == set(Spikes.DESCRIPTOR.fields_by_name)


@every_family
def test_a_bad_batch_is_told_and_changes_nothing(task: str) -> None:
    asked = spec(task)
    bad = bad_step(asked)
    warned = Spiked(asked, [bad])
    assert warned.to_the_end() is None
    after = warned.learnt()
    blind = Spiked(spec(task, spikes=BLIND), [bad])
    assert blind.to_the_end() is None
    assert same(after, blind.learnt())
    assert points_of(warned) == points_of(blind)
    assert blind.report.decisions == []

    (decision, *_) = warned.report.decisions
    assert (decision.action, decision.seen.step) == (GuardDecision.WARNED, bad)
    assert decision.seen.spike.deviations > 8
    if task not in OF_BATCHES:
        assert list(decision.seen.spike.samples) == [decision.seen.samples[ROW]]
        (loss,) = decision.seen.spike.losses
        assert abs(loss) > 5 * abs(decision.seen.spike.median_loss)
    (warning,) = [one for one in warned.report.warnings if one.kind == Warning.SPIKE]
    assert f"Step {bad} is a spike" in warning.message
    assert warned.report.series("spikes/seen")[0] == (bad, 1.0)


@every_family
def test_no_family_is_warned_without_cause(task: str) -> None:
    good = Spiked(spec(task))
    assert good.to_the_end() is None
    assert good.report.decisions == []


@every_family
def test_a_skipped_batch_never_was(task: str) -> None:
    asked = spec(task, spikes=SKIP)
    bad = bad_step(asked)
    spiked = Spiked(asked, [bad])
    assert spiked.to_the_end() is None
    after = spiked.learnt()
    (decision,) = spiked.report.decisions
    assert (decision.action, decision.skipped) == (GuardDecision.SKIPPED, 1)
    assert spiked.report.last("spikes/skipped") == 1
    window = spiked.setup.snapshots.capture().values["spike_window"]
    reference = Spiked(asked)
    assert reference.to_the_end(without=[bad]) is None
    assert same(after, reference.learnt())
    assert same(window, reference.setup.snapshots.capture().values["spike_window"])


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": {"sgd": {"learning_rate": 0.01, "momentum": 0.9}}},
        {"schedule": {"cosine": {"warmup_steps": 4}}, "training": {"accumulation": 3}},
        {"training": {"clip_norm": 0.5}},
        {"training": {"precision": "fp16"}},
        {"model": {"mlp": {"hidden": [16, 8], "dropout": 0.3}}},
    ],
    ids=lambda fields: " ".join(fields),
)
def test_skipped_steps_never_were(fields: dict[str, Any]) -> None:
    asked = spec("regression", spikes=SKIP, **fields)
    bad = (25, 26, 40, 49)
    spiked = Spiked(asked, bad)
    assert spiked.to_the_end() is None
    after = spiked.learnt()
    scaler = spiked.setup.learner.precision.scaler
    assert [one.seen.step for one in spiked.report.decisions] == list(bad)
    reference = Spiked(asked)
    assert reference.to_the_end(without=bad) is None
    assert same(after, reference.learnt())
    assert (scaler is not None) == (asked.training.precision == Training.fp16)
    if scaler is not None:
        other = reference.setup.learner.precision.scaler
        assert other is not None
        assert scaler.values() == other.values()


def test_buffers_are_as_if_the_batch_had_never_been() -> None:
    class Targets(Spiked):
        def _changed(self, batch: Any) -> Any:
            changed = super()._changed(batch)
            if self._way == "far":
                changed.arrays["target"][0] = 1e4
            return changed

    asked = spec("regression", spikes=SKIP, model=BATCH_NORM)
    spiked = Targets(asked, [30])
    assert spiked.to_the_end() is None
    after = spiked.learnt()
    (decision,) = spiked.report.decisions
    assert decision.seen.spike.samples[0] == decision.seen.samples[0]
    reference = Targets(asked)
    assert reference.to_the_end(without=[30]) is None
    assert same(after, reference.learnt())


@pytest.mark.parametrize("spikes", ["warn", SKIP, ROLLBACK], ids=["warn", "skip", "rollback"])
@pytest.mark.parametrize("task", ["regression", "gan", "vae"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_cuda)])
def test_read_ten_at_once_all_is_as_if_each_step_had_been_read(
    task: str, spikes: Any, device: str
) -> None:
    def ends(every: int) -> dict[str, Any]:
        training = {"read_every_steps": every, "evaluate_every_epochs": 100, "steps": 120}
        asked = spec(task, spikes=spikes, training=training)
        made = Spiked(asked, [69, 70, 81, 94], device=torch.device(device))
        ending = made.to_the_end()
        report = made.report
        return {
            "ending": str(ending),
            "learnt": made.learnt(),
            "decisions": [decision.SerializeToString() for decision in report.decisions],
            "lines": report.lines,
            "points": [
                (step, {n: v for n, v in values.items() if not n.startswith("throughput/")})
                for step, values in report.points
            ],
            "window": made.setup.snapshots.capture().values["spike_window"],
        }

    read_each, read_ten = ends(1), ends(10)
    assert read_each["decisions"]
    for name, value in read_each.items():
        assert same(read_ten[name], value), name


@pytest.mark.parametrize("spikes", ["warn", SKIP, ROLLBACK], ids=["warn", "skip", "rollback"])
def test_a_run_in_pieces_tells_what_the_run_in_one_tells(spikes: Any) -> None:
    asked = spec("regression", spikes=spikes, training={"steps": 80})
    bad = (21, 43, 44, 70)
    whole = Spiked(asked, bad)
    assert whole.to_the_end() is None
    expected = whole.learnt()

    pieces, decisions = Spiked(asked, bad), []
    for stop in (5, 17, 20, 21, 43, 60):

        class At:
            def check(self, of: Spiked = pieces, step: int = stop) -> Stop | None:
                return Stop("shutdown") if of.setup.state.step == step else None

        assert pieces.to_the_end(control=At()) is not None
        decisions += pieces.report.decisions
        snapshot = pieces.setup.snapshots.capture()
        snapshot.values = json.loads(json.dumps(snapshot.values))
        pieces = Spiked(asked, bad)
        torch.rand(5)
        pieces.setup.snapshots.restore(snapshot)
    assert pieces.to_the_end() is None
    assert same(pieces.learnt(), expected)
    assert [*decisions, *pieces.report.decisions] == whole.report.decisions
    # A window that went back to step 21 is too short for step 44.
    assert len(whole.report.decisions) == len(bad) - (spikes is ROLLBACK)


def test_a_checkpoint_of_before_there_were_windows_is_gone_on_from() -> None:
    asked = spec("regression", training={"guard": ROLLBACK})
    made = Spiked(asked)

    class At:
        def check(self) -> Stop | None:
            return Stop("shutdown") if made.setup.state.step == 20 else None

    assert made.to_the_end(control=At()) is not None
    snapshot = made.setup.snapshots.capture()
    for part in ("spikes", "spike_window"):
        del snapshot.values[part]
    del snapshot.values["state"]["spikes"]  # type: ignore[attr-defined]
    for good in snapshot.values["policy"]["kept"]:
        del good["values"]["spike_window"]
    resumed = Spiked(asked, [22, 40])
    resumed.setup.snapshots.restore(snapshot)
    assert resumed.to_the_end() is None
    # What has no window yet is compared with nothing.
    assert [one.seen.step for one in resumed.report.decisions] == [40]


def test_a_rollback_goes_back_and_on() -> None:
    spikes = {"rollback": {"keep_every_steps": 10, "rate_factor": 0.25, "max_times": 1}}
    spiked = Spiked(spec("regression", spikes=spikes, training={"steps": 60}), [32])
    assert spiked.to_the_end() is None
    (decision,) = spiked.report.decisions
    assert decision.action == GuardDecision.ROLLED_BACK
    assert (decision.to_step, decision.rate_factor) == (20, 0.25)
    assert spiked.setup.state.applied == 20 + 60 - 32
    assert spiked.report.last("lr") == pytest.approx(0.25e-3)
    assert spiked.report.series("spikes/rollbacks") == [(32, 1.0)]
    assert "is rolled back to the state after step 20" in spiked.report.lines[0]

    ends = Spiked(spec("regression", spikes=spikes, training={"steps": 60}), [32, 58]).to_the_end()
    assert isinstance(ends, Divergence)
    assert "training.spikes.rollback.max_times is 1" in ends.policy


def test_what_the_guard_rolled_back_no_spike_goes_back_to() -> None:
    """Both policies keep states; those kept behind the state that one went to are of no use."""

    class Bad(Spiked):
        def _loss_of(self, batch: Any) -> torch.Tensor:
            loss = super()._loss_of(batch)
            return loss + torch.inf if self.setup.state.step == 52 else loss

    rollback = {"rollback": {"keep_every_steps": 10}}
    keeps_often = {"rollback": {"keep_every_steps": 2}}
    training = {"guard": rollback, "steps": 90}
    made = Bad(spec("regression", spikes=keeps_often, training=training), [53])
    assert made.to_the_end() is None
    by_guard, by_spikes = made.report.decisions
    assert (by_guard.seen.step, by_guard.to_step) == (52, 40)
    # Kept where the guard went to, at step 52.
    assert (by_spikes.seen.step, by_spikes.to_step) == (53, 52)


def test_too_many_in_a_row_end_the_run() -> None:
    spikes = {"skip": {"max_share": 1, "max_in_a_row": 2}}
    ends = Spiked(spec("regression", spikes=spikes), [30, 31, 35, 36, 37]).to_the_end()
    assert isinstance(ends, Divergence)
    assert (ends.step, ends.what) == (37, "loss")
    assert "training.spikes.skip.max_in_a_row is 2" in ends.policy
    (line, *_) = divergence_lines(ends)
    assert "robust standard deviations above" in line
    assert any("samples behind it" in line for line in divergence_lines(ends))


def test_only_some_are_told_in_words() -> None:
    bad = range(30, 100, 3)
    for every in (1, 10):
        training = {"steps": 100, "read_every_steps": every, "evaluate_every_epochs": 100}
        spiked = Spiked(spec("regression", training=training), bad)
        assert spiked.to_the_end() is None
        assert len(spiked.report.decisions) == MOST_TOLD
        assert spiked.report.last("spikes/seen") == len(bad)
        assert "only counted" in spiked.report.lines[-1]
        assert len([one for one in spiked.report.warnings if one.kind == Warning.SPIKE]) == 1


RUNAWAY: dict[str, Any] = {
    "loss": "huber",
    "model": {"mlp": {"hidden": [64]}},
    "optimizer": {"adamw": {"learning_rate": 300}},
}


def test_a_run_that_runs_away_is_told_without_samples() -> None:
    result, report = run(job(**RUNAWAY), may_be_unwell=True)
    assert result.state == Job.SUCCEEDED
    (warning,) = [one for one in report.warnings if one.kind == Warning.SPIKE]
    assert "Step 2 is a spike: loss" in warning.message
    assert "far above the first step's" in warning.message
    assert "No single sample stands out" in warning.message
    assert "which was 300" in warning.message


def test_a_run_that_runs_away_ends_where_spikes_are_refused() -> None:
    asked = {**RUNAWAY, "training": {"epochs": 3, "spikes": "skip"}}
    result, _ = run(job(**asked), may_be_unwell=True)
    assert result.state == Job.DIVERGED
    assert "training.spikes.skip" in result.message
