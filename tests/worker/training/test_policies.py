"""What follows when the guard refuses a step: fail, skip, rollback."""

import json
import math
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import flat, job, run
from tests.worker.training.poisoned import BATCH_NORM, WAYS, Run, same

from talweg.spec import divergence_lines, fill, from_dict
from talweg.v1.guard_pb2 import Guard
from talweg.v1.jobs_pb2 import Divergence, GuardDecision, Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training import RecordingReporter, Stop
from talweg.worker.training.guard.overflow import LARGEST_WEIGHT, steps_apart
from talweg.worker.training.guard.policies import POLICIES

SKIP = {"skip": {"max_share": 0.5}}
LAST = 37
# The first step and the last, two in a row, and step 17, the last of an epoch of batches of 16.
BAD = {1: "nan input", 5: "inf loss", 6: "inf gradient", 11: "huge input", 17: "overflow",
       20: "inf target", LAST: "nan input"}  # fmt: skip
OPTIMIZERS: dict[str, Any] = {
    "adamw": {"adamw": {"learning_rate": 0.01}},
    "sgd": {"sgd": {"learning_rate": 0.05, "momentum": 0.9}},
    "rmsprop": "rmsprop",
    "adagrad": "adagrad",
}
CLIPPINGS: dict[str, dict[str, float]] = {
    "unclipped": {},
    "norm": {"clip_norm": 0.5},
    "value": {"clip_value": 0.05},
}


def spec(*, guard: Any = "fail", steps: int = LAST, **fields: Any) -> JobSpec:
    training = {"steps": steps, "batch_size": 16, "guard": guard, "log_every_steps": 1}
    training |= fields.pop("training", {})
    return job(**{"model": BATCH_NORM, **fields, "training": training})


def refusals(report: RecordingReporter) -> list[GuardDecision]:
    """Return what was decided of steps that are not finite, without what is said of spikes."""
    return [decision for decision in report.decisions if not decision.seen.HasField("spike")]


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("clipping", CLIPPINGS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_skipped_steps_never_were(optimizer: str, clipping: str, accumulation: int) -> None:
    asked = spec(
        guard=SKIP,
        optimizer=OPTIMIZERS[optimizer],
        # Counted by the steps that are done, towards the length that was planned.
        schedule={"cosine": {"warmup_steps": 4}},
        training={**CLIPPINGS[clipping], "accumulation": accumulation},
    )
    poisoned = Run(asked, BAD)
    assert poisoned.to_the_end() is None
    after_poison = poisoned.learnt()
    reference = Run(asked)
    assert reference.to_the_end(without=BAD) is None
    assert after_poison["applied"] == LAST - len(BAD)
    # The last step of the poisoned run set a rate that no update has used.
    after_reference = reference.learnt()
    for learnt in (after_poison, after_reference):
        learnt.pop("rate")
    assert same(after_poison, after_reference)

    told = [value for _, value in poisoned.report.series("train/loss")]
    assert told == [value for _, value in reference.report.series("train/loss")]
    rates = [value for _, value in poisoned.report.series("lr")]
    assert rates == [value for _, value in reference.report.series("lr")]
    assert [point[0] for point in poisoned.report.series("guard/skipped")] == list(BAD)
    assert poisoned.report.last("guard/skipped") == len(BAD)
    assert poisoned.report.steps == LAST


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", [1, 9])
def test_each_way_leaves_all_as_before_under_fail(way: str, step: int) -> None:
    poisoned = Run(spec(), {step: way})
    ending = poisoned.to_the_end()
    after = poisoned.learnt()
    assert isinstance(ending, Divergence)
    assert (ending.step, ending.policy) == (step, "")
    before = Run(spec())
    if step > 1:
        before.to_the_end(without=range(step, LAST + 1))
    expected = before.learnt()
    for learnt in (after, expected):
        learnt.pop("rate")
    assert same(after, expected)
    assert poisoned.report.decisions == []


def test_a_skip_is_a_decision_a_metric_and_a_line() -> None:
    poisoned = Run(spec(guard=SKIP), {4: "nan input", 9: "overflow"})
    assert poisoned.to_the_end() is None
    first, second = poisoned.report.decisions
    assert first.action == second.action == GuardDecision.SKIPPED
    assert (first.seen.step, first.seen.what, first.seen.module) == (4, "loss", "linear1")
    assert (second.seen.step, second.seen.what) == (9, "gradient")
    assert (first.skipped, second.skipped, second.rollbacks) == (1, 2, 0)
    assert second.rate_factor == 1
    assert len(poisoned.report.lines) == 2
    assert "Step 4 is skipped: loss nan, first in module linear1" in poisoned.report.lines[0]
    assert poisoned.report.series("guard/skipped") == [(4, 1.0), (9, 2.0)]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_samples_of_a_refused_step_are_told(accumulation: int) -> None:
    training = {"accumulation": accumulation}
    poisoned = Run(spec(guard=SKIP, training=training), {8: "nan input", 9: "inf target"})
    seen: list[torch.Tensor] = []
    of_epoch = poisoned.setup.batches.of_epoch

    def noting(order: Any) -> Any:
        for window in of_epoch(order):
            seen.append(torch.cat([batch.x for batch in window]))
            yield window

    poisoned.setup.batches.of_epoch = noting  # type: ignore[method-assign]
    assert poisoned.to_the_end() is None
    whole = poisoned.setup.splits.bundle.train.x
    for decision in poisoned.report.decisions:
        samples = list(decision.seen.samples)
        assert len(samples) == 16 * accumulation
        assert torch.equal(whole[samples], seen[decision.seen.step - 1])
    by_input, by_target = (decision.seen for decision in poisoned.report.decisions)
    last_batch = 16 * (accumulation - 1)
    assert list(by_input.bad_samples) == [by_input.samples[last_batch + 1]]
    assert list(by_target.bad_samples) == [by_target.samples[last_batch]]
    assert f"sample {by_input.bad_samples[0]} of the training split" in by_input.hint
    assert "targets" in by_target.hint


def test_samples_that_were_turned_are_named_by_their_originals() -> None:
    turned = Run(
        job(
            task={"metric_learning": {"turned_classes": True}},
            dataset="digits",
            model="embedder",
            loss="supcon",
            training={"steps": 3, "guard": SKIP},
        ),
        {2: "nan input"},
    )
    seen: list[torch.Tensor] = []
    of_epoch = turned.setup.batches.of_epoch

    def noting(order: Any) -> Any:
        for window in of_epoch(order):
            seen.append(torch.cat([batch.x for batch in window]))
            yield window

    turned.setup.batches.of_epoch = noting  # type: ignore[method-assign]
    assert turned.to_the_end() is None
    (decision,) = turned.report.decisions
    evidence, whole = decision.seen, turned.setup.splits.bundle.train.x
    pairs = list(zip(evidence.samples, evidence.quarter_turns, strict=True))
    assert {turns for _, turns in pairs} == {0, 1, 2, 3}
    batch = torch.stack([torch.rot90(whole[sample], turns, (1, 2)) for sample, turns in pairs])
    assert torch.equal(batch, seen[1])
    assert list(evidence.bad_samples) == [evidence.samples[1]]
    few = Divergence(samples=[5, 3, 8], quarter_turns=[0, 1, 3])
    shown = "samples of the step: 5, 3 rotated by 90°, 8 rotated by 270° (indices from 0 into the"
    assert any(shown in line for line in divergence_lines(few))


def test_too_many_in_a_row_end_the_run() -> None:
    guard = {"skip": {"max_share": 1, "max_in_a_row": 3}}
    fine = Run(spec(guard=guard), dict.fromkeys([2, 3, 4, 6, 7, 8], "inf loss"))
    assert fine.to_the_end() is None
    over = Run(spec(guard=guard), dict.fromkeys([2, 3, 4, 6, 7, 8, 9], "inf loss"))
    ending = over.to_the_end()
    assert isinstance(ending, Divergence)
    assert ending.step == 9
    assert "4 consecutive steps were refused" in ending.policy
    assert len(over.report.decisions) == 6


@pytest.mark.parametrize(("share", "allowed"), [(0.1, 3), (0.001, 1), (1, 37)])
def test_too_large_a_share_ends_the_run(share: float, allowed: int) -> None:
    guard = {"skip": {"max_share": share, "max_in_a_row": 100}}
    poisoned = Run(spec(guard=guard), dict.fromkeys(range(1, LAST + 1, 2), "inf loss"))
    ending = poisoned.to_the_end()
    if allowed > LAST // 2:
        assert ending is None
        return
    assert isinstance(ending, Divergence)
    assert ending.step == 2 * allowed + 1
    assert f"max_share {share:g}" in ending.policy
    assert poisoned.report.last("guard/skipped") == allowed


def test_a_run_that_may_not_go_on_says_why() -> None:
    # Its gradients are beyond 1e18 in every step.
    optimizer = {"sgd": {"learning_rate": 1000}}
    skip = {"skip": {"max_share": 0.1}}
    for guard, says in ((skip, "max_in_a_row is 5"), ("rollback", "max_times is 3")):
        result, report = run(job(optimizer=optimizer, training={"epochs": 20, "guard": guard}))
        assert result.state == Job.DIVERGED
        assert result.divergence is not None
        assert says in result.divergence.policy
        assert says in result.message
        assert len(refusals(report)) == (5 if guard is skip else 3)
        assert result.steps < result.divergence.step


# Rollback.


def test_a_rollback_goes_back_and_on() -> None:
    """As a loop does it that is written out: keep, train, go back, train on behind."""
    guard = {"rollback": {"keep_every_steps": 10, "rate_factor": 0.25}}
    asked = spec(guard=guard, steps=60, optimizer=OPTIMIZERS["adamw"])
    poisoned = Run(asked, {34: "inf loss"})
    assert poisoned.to_the_end() is None
    after = poisoned.learnt()
    (decision,) = poisoned.report.decisions
    # Kept were 20 and 30: neither is more than 20 steps old, so the older one is taken.
    assert decision.action == GuardDecision.ROLLED_BACK
    assert (decision.seen.step, decision.to_step, decision.rate_factor) == (34, 20, 0.25)
    assert decision.seen.good_step == 20
    assert poisoned.report.series("guard/rollbacks") == [(34, 1.0)]
    assert "is rolled back to the state after step 20" in poisoned.report.lines[0]
    assert after["applied"] == 20 + 60 - 34

    plain = Run(spec(steps=60, optimizer=OPTIMIZERS["adamw"]))

    class At:
        def __init__(self, step: int) -> None:
            self.step = step

        def check(self) -> Stop | None:
            return Stop("cancel") if plain.setup.state.step == self.step else None

    setup = plain.setup
    assert plain.to_the_end(control=At(20)) is not None
    kept = setup.snapshots.capture()
    assert plain.to_the_end(control=At(33)) is not None
    setup.snapshots.restore(kept, only={"model", "loss", "optimizer"})
    setup.state.applied = 20
    setup.state.refusals.rate_factor = 0.25
    # The data of step 34 are passed over.
    next(plain.of_epoch(setup.state.order))
    setup.state.step = 34
    assert plain.to_the_end() is None
    written = plain.learnt()
    assert same(after, {**written, "losses": after["losses"], "norms": after["norms"]})
    assert after["losses"] == written["losses"]


def test_a_rollback_takes_a_state_that_is_old_enough() -> None:
    def went_to(bad: int) -> int:
        guard = {"rollback": {"keep_every_steps": 25}}
        poisoned = Run(spec(guard=guard, steps=110), {bad: "nan input"})
        assert poisoned.to_the_end() is None
        return poisoned.report.decisions[0].to_step

    # The latest that is more than 20 steps old, else the older of the two that are kept.
    assert went_to(1) == went_to(24) == went_to(45) == 0
    assert went_to(46) == went_to(70) == 25
    assert went_to(71) == 50


def test_rollbacks_add_up_and_end() -> None:
    guard = {"rollback": {"keep_every_steps": 5, "rate_factor": 0.5, "max_times": 2}}
    poisoned = Run(spec(guard=guard, steps=90), dict.fromkeys([30, 60, 85], "inf gradient"))
    ending = poisoned.to_the_end()
    assert isinstance(ending, Divergence)
    assert ending.step == 85
    assert 60 <= ending.good_step < 85
    assert [d.rate_factor for d in poisoned.report.decisions] == [0.5, 0.25]
    assert "been rolled back 2 times" in ending.policy
    last_rate = poisoned.report.last("lr")
    assert last_rate == pytest.approx(1e-3 * 0.25)


@pytest.mark.parametrize(
    "guard",
    [SKIP, {"rollback": {"keep_every_steps": 7, "max_times": 9}}],
    ids=["skip", "rollback"],
)
def test_a_run_in_pieces_decides_as_the_run_in_one(guard: Any) -> None:
    asked = spec(guard=guard, steps=60, optimizer=OPTIMIZERS["adamw"])
    bad = dict.fromkeys([9, 33, 34, 58], "inf gradient")
    whole = Run(asked, bad)
    assert whole.to_the_end() is None
    expected = whole.learnt()

    pieces = Run(asked, bad)
    for stop in (5, 8, 9, 20, 33, 47):

        class At:
            def check(self, of: Run = pieces, step: int = stop) -> Stop | None:
                return Stop("shutdown") if of.setup.state.step == step else None

        assert pieces.to_the_end(control=At()) is not None
        kept = pieces.setup.snapshots.capture()
        kept.values = json.loads(json.dumps(kept.values))
        pieces = Run(asked, bad)
        torch.rand(5)
        pieces.setup.snapshots.restore(kept)
    assert pieces.to_the_end() is None
    assert same(pieces.learnt(), expected)
    went_to = [decision.to_step for decision in whole.report.decisions]
    assert went_to == ([0] * 4 if guard is SKIP else [0, 24, 24, 49])


def test_a_rate_that_is_too_high_is_brought_down() -> None:
    fields = {"loss": "mse", "optimizer": {"sgd": {"learning_rate": 3.0}}}
    failed, _ = run(job(**fields, training={"epochs": 20}))
    assert failed.state == Job.DIVERGED
    guard = {"rollback": {"rate_factor": 0.01, "keep_every_steps": 10}}
    result, report = run(job(**fields, training={"epochs": 20, "guard": guard}))
    assert result.state == Job.SUCCEEDED, result.message
    assert report.last("guard/rollbacks") == 1
    assert report.last("lr") == pytest.approx(0.03)
    assert math.isfinite(report.last("test/mae"))


# Weights that run away.

RUNNING_AWAY: dict[str, Any] = {
    "adamw": {"adamw": {"learning_rate": 1000, "weight_decay": 10}},
    "sgd": {"sgd": {"learning_rate": 100, "weight_decay": 10, "momentum": 0.9}},
    "slowly": {"adamw": {"learning_rate": 1, "weight_decay": 3}},
}


@pytest.mark.parametrize("name", RUNNING_AWAY)
@pytest.mark.parametrize("guard", ["fail", "skip", "rollback"])
def test_weights_never_overflow(name: str, guard: str) -> None:
    # mae's gradients stay small, whatever the weights.
    policy = {"rollback": {"rate_factor": 0.99}} if guard == "rollback" else guard
    asked = job(
        model="linear",
        loss="mae",
        optimizer=RUNNING_AWAY[name],
        training={"steps": 300, "guard": policy},
    )
    away = Run(asked)

    class Looking(RecordingReporter):
        def progress(self, step: int, total_steps: int, epoch: int, total_epochs: int) -> None:
            assert flat(away.setup.state.model).isfinite().all(), step

    away.report.progress = Looking().progress  # type: ignore[method-assign]
    ending = away.to_the_end()
    assert isinstance(ending, Divergence)
    assert ending.what == "weights"
    assert ending.module == "linear1"
    assert LARGEST_WEIGHT < float(ending.value) < 1e37
    assert flat(away.setup.state.model).isfinite().all()
    assert "weight decay" in ending.hint
    assert len(refusals(away.report)) == (3 if guard == "rollback" else 0)


def test_weights_that_ran_away_in_the_last_steps_are_not_given_out() -> None:
    def ending(last: int) -> Any:
        training = {"steps": last}
        optimizer = RUNNING_AWAY["adamw"]
        return run(job(model="linear", loss="mae", optimizer=optimizer, training=training))[0]

    # They are looked at after step 4, when they are fine, and not before step 8.
    assert ending(4).state == Job.SUCCEEDED
    result = ending(6)
    assert (result.state, result.divergence.what) == (Job.DIVERGED, "weights")
    assert result.model is None


def test_how_often_weights_are_looked_at() -> None:
    def apart(**optimizer: Any) -> int:
        return steps_apart(fill(from_dict({"optimizer": optimizer})).optimizer)

    assert apart(adamw={}) == apart(sgd={}) == apart(adam={"weight_decay": 10}) == 128
    assert apart(adagrad={}) == 64
    assert apart(adamw={"learning_rate": 1000, "weight_decay": 10}) == 4
    assert apart(sgd={"learning_rate": 1000, "weight_decay": 10, "momentum": 0.99999}) == 1
    assert 1 < apart(adamw={"learning_rate": 1, "weight_decay": 5}) < 128


def test_every_policy_has_its_class() -> None:
    assert POLICIES.keys() == set(Guard.DESCRIPTOR.fields_by_name)
