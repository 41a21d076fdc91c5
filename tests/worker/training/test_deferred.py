"""Steps that are taken before they are read end as if each had been read at once."""

import itertools
import math
import warnings
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import flat, job, run
from tests.worker.training.poisoned import BATCH_NORM, WAYS, Run, same

from talweg.v1.jobs_pb2 import Divergence, GuardDecision, Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import training
from talweg.worker.training import NeverStop, NoStore, NullReporter, Snapshot, Stop
from talweg.worker.training.deferred import every_steps
from talweg.worker.training.guard.guard import Reading
from talweg.worker.training.monitors import health
from talweg.worker.training.optim.update import FlatUpdate, Update
from talweg.worker.training.state.checkpoints import Checkpointer

LAST = 44
# The first step and the last, two in a row, the last of an epoch of batches of 16, and one in the
# window that the next epoch begins in.
BAD = dict(zip((1, 5, 6, 12, 17, 20, 29, LAST), itertools.cycle(WAYS), strict=False))
GUARDS: dict[str, Any] = {
    "skip": {"skip": {"max_share": 0.5}},
    "rollback": {"rollback": {"keep_every_steps": 7, "max_times": 9}},
}
OPTIMIZERS: dict[str, Any] = {
    "adamw": {"adamw": {"learning_rate": 0.01}},
    "sgd": {"sgd": {"learning_rate": 0.05, "momentum": 0.9}},
    "rmsprop": {"rmsprop": {"momentum": 0.5}},
    "adagrad": "adagrad",
}
TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped by norm, accumulated": {"clip_norm": 0.5, "accumulation": 3},
    "clipped by value": {"clip_value": 0.05},
    "fp16": {"precision": "fp16", "clip_norm": 0.5},
}


def spec(every: int | None, *, guard: Any = "fail", **fields: Any) -> JobSpec:
    training = {"steps": LAST, "batch_size": 16, "guard": guard, "log_every_steps": 1}
    training |= fields.pop("training", {})
    if every is not None:
        training["read_every_steps"] = every
    # Evaluations end windows: here only the last epoch has one.
    training.setdefault("evaluate_every_epochs", 100)
    schedule = {"cosine": {"warmup_steps": 4}}
    return job(**{"model": BATCH_NORM, "schedule": schedule, **fields, "training": training})


def outcome(made: Run) -> dict[str, Any]:
    """Return all that is left of a run, and all that it told, but for the clock."""
    ending = made.to_the_end()
    report = made.report
    return {
        "ending": str(ending),
        "learnt": made.learnt(),
        "step": made.setup.state.step,
        "refusals": vars(made.setup.state.refusals),
        "decisions": [decision.SerializeToString() for decision in report.decisions],
        "lines": report.lines,
        "points": [
            (step, {n: v for n, v in values.items() if not n.startswith("throughput/")})
            for step, values in report.points
        ],
    }


def counted_windows(made: Run, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that comes to hold how many steps each window has that is read."""
    guard, windows = made.setup.step.guard, list[int]()
    read_unread = guard.read_unread

    def counting() -> list[Reading] | None:
        readings = read_unread()
        # Of one with a bad step nothing is given.
        windows.append(len(readings or ()))
        return readings

    monkeypatch.setattr(guard, "read_unread", counting)
    return windows


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize(
    ("optimizer", "training"),
    [
        ("adamw", "plain"),
        ("adamw", "clipped by norm, accumulated"),
        ("adamw", "fp16"),
        ("sgd", "clipped by norm, accumulated"),
        ("sgd", "plain"),
        ("rmsprop", "clipped by value"),
        ("adagrad", "plain"),
    ],
)
def test_windows_with_bad_steps_end_as_if_each_step_had_been_read(
    optimizer: str, training: str, guard: str
) -> None:
    def ends(every: int) -> dict[str, Any]:
        asked = spec(
            every,
            guard=GUARDS[guard],
            optimizer=OPTIMIZERS[optimizer],
            training=TRAININGS[training],
        )
        return outcome(Run(asked, BAD))

    read_each, read_ten = ends(1), ends(10)
    assert len(read_each["decisions"]) == len(BAD)
    for name, found in read_each.items():
        assert same(read_ten[name], found), name


def test_samples_of_a_window_that_is_taken_again_count_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "_ROWS", 10**6)
    monkeypatch.setattr(health, "_MOST_STEPS", LAST - 10)
    # Followed from the first look on, and to the end.
    monkeypatch.setattr(health, "_due", lambda num_looks: num_looks)

    def rows(every: int) -> tuple[dict[str, int], int]:
        made = Run(spec(every, guard=GUARDS["skip"]), {20: WAYS[0], 26: WAYS[1]})
        windows = counted_windows(made, monkeypatch)
        made.to_the_end()
        return dict(made.setup.step.health.followed.rows), len(windows)

    (each, _), (windows, num_reads) = rows(1), rows(10)
    assert num_reads > 0
    assert each
    assert windows == each


@pytest.mark.parametrize(
    ("way", "step"), list(zip(WAYS, (1, 7, 25, LAST, 2, 11), strict=True)), ids=WAYS
)
def test_under_fail_it_ends_before_the_bad_step(way: str, step: int) -> None:
    read_each, read_ten = (outcome(Run(spec(every), {step: way})) for every in (1, 10))
    assert read_ten["learnt"]["applied"] == step - 1
    assert same(read_ten, read_each)


def test_the_device_is_read_once_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Run(spec(10))
    windows = counted_windows(made, monkeypatch)
    assert made.to_the_end() is None
    # Steps 1 and 16 are looked at by themselves: windows of 10, 4, 10, 10 and 8.
    assert windows == [10, 4, 10, 10, 8]
    each = Run(spec(1))
    windows = counted_windows(each, monkeypatch)
    assert each.to_the_end() is None
    assert windows == []
    assert same(made.learnt(), each.learnt())


class Spy:
    """Looks at the weights after each step, as nothing of the training does."""

    def __init__(self, made: Run) -> None:
        self._state = made.setup.state
        self.finite: list[bool] = []
        self.moved: list[bool] = []
        self._before = self._weights()

    def check(self) -> Stop | None:
        held = [
            *self._state.model.parameters(),
            *(v for s in self._state.optimizer.state.values() for v in s.values()),
        ]
        self.finite.append(all(bool(tensor.isfinite().all()) for tensor in held))
        weights = torch.cat(
            [p.detach().double().flatten() for p in self._state.model.parameters()]
        )
        self.moved.append(not torch.equal(weights, self._before))
        self._before = weights
        return None

    def _weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self._state.model.parameters()])


@pytest.mark.parametrize("is_flat", [True, False])
@pytest.mark.parametrize(
    ("optimizer", "way"),
    [
        ("adamw", "nan input"),
        ("sgd", "inf gradient"),
        ("rmsprop", "nan input"),
        ("adagrad", "overflow"),
    ],
)
def test_not_even_before_it_is_read_does_a_bad_step_reach_the_weights(
    way: str, optimizer: str, is_flat: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_flat:
        monkeypatch.setattr("talweg.worker.training.optim.update.LARGEST_FLAT", 0)
    made = Run(spec(10, optimizer=OPTIMIZERS[optimizer]), {4: way})
    assert type(made.setup.state.update) is (FlatUpdate if is_flat else Update)
    spy = Spy(made)
    assert isinstance(made.to_the_end(control=spy), Divergence)
    # The window of the steps 2 to 11, and then the steps 2 and 3 once more.
    assert len(spy.finite) == 1 + 9 + 2
    assert all(spy.finite)
    if OPTIMIZERS[optimizer] != OPTIMIZERS["rmsprop"]:
        assert spy.moved[1:] == [True] * 2 + [False] * 7 + [True] * 2


@pytest.mark.parametrize("step", [3, 9])
def test_a_stop_in_a_window_leaves_only_good_steps(step: int) -> None:
    class StopsAt:
        left = 8

        def check(self) -> Stop | None:
            self.left -= 1
            return None if self.left else Stop("pause")

    made = Run(spec(20), {step: "nan input"})
    assert isinstance(made.to_the_end(control=StopsAt()), Stop)
    # Bad steps take training back to before the window, which the next attempt takes again.
    expected = Run(spec(1))
    count = 1 if step == 3 else 8
    expected.to_the_end(without=range(count + 1, LAST + 1))
    assert made.setup.state.step == made.setup.state.applied == count
    ours, theirs = made.learnt(), expected.learnt()
    for learnt in (ours, theirs):
        learnt.pop("rate")
    assert same(ours, theirs)


class Saves(NoStore):
    """Keeps the weights of each checkpoint, by its step."""

    def __init__(self) -> None:
        self.weights: dict[int, torch.Tensor] = {}

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        named = snapshot.tensors.items()
        weights = [t.double().flatten() for name, t in named if name.startswith("model/")]
        self.weights[step] = torch.cat(weights)
        return True


def saves_of(every: int, checkpoints: dict[str, Any]) -> dict[int, torch.Tensor]:
    """Return the checkpoints of a run of which a step in the second window is bad."""
    saves = Saves()
    asked = spec(every, training={"checkpoints": checkpoints})
    made = Run(asked, {14: "nan input"})
    checkpointer = Checkpointer(
        made.setup.state,
        made.setup.snapshots,
        saves,
        weights=made.setup.weights,
        settings=asked.training.checkpoints,
        report=made.report,
    )
    assert isinstance(made.to_the_end(checkpoints=checkpointer), Divergence)
    return saves.weights


def test_a_window_ends_at_a_checkpoint() -> None:
    checkpoints = {"every_steps": 4}
    each, windows = saves_of(1, checkpoints), saves_of(10, checkpoints)
    assert list(each) == [4, 8, 12]
    assert same(windows, each)


def test_no_checkpoint_holds_steps_that_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # So much faster each time that one is due whenever somebody asks, however long writing took.
    clock = (100.0**count for count in itertools.count())
    monkeypatch.setattr("talweg.worker.training.state.checkpoints.time.monotonic", clock.__next__)
    checkpoints = {"every_seconds": 1}
    each, windows = saves_of(1, checkpoints), saves_of(10, checkpoints)
    assert list(each) == list(range(1, 14))
    # Steps 2 to 11 are one window, and the next is taken back: its good steps are read singly.
    assert list(windows) == [1, 11, 12, 13]
    assert all(torch.equal(windows[step], each[step]) for step in windows)


def test_a_rollback_keeps_the_same_states() -> None:
    guard = {"rollback": {"keep_every_steps": 3, "rate_factor": 0.25}}
    read_each = outcome(Run(spec(1, guard=guard), {40: "overflow"}))
    made = Run(spec(10, guard=guard), {40: "overflow"})
    assert same(outcome(made), read_each)
    (decision,) = made.report.decisions
    assert (decision.action, decision.to_step) == (GuardDecision.ROLLED_BACK, 36)


@pytest.mark.parametrize(
    "fields",
    [
        {
            "task": {"gan": {"critic_steps": 2, "gradient_penalty": 1}},
            "dataset": {"gaussian_ring": {"num_samples": 400}},
            "model": {"adversarial": {"generator": [8], "critic": [8]}},
            "loss": {"gan": {"form": "wgan"}},
        },
        {
            "task": "multiclass",
            "dataset": "wine",
            "loss": {"arcface": {}},
            "training": {"early_stopping": {"patience": 2}, "evaluate_every_epochs": 2},
        },
        {
            "task": "self_supervised",
            "dataset": "wine",
            "model": {"embedder": {"trunk": BATCH_NORM, "size": 6}},
            "loss": "negative_cosine",
        },
    ],
    ids=["gan", "loss that learns, early stopping", "self-supervised"],
)
def test_whole_jobs_end_the_same(fields: dict[str, Any]) -> None:
    def ends(every: int) -> tuple[torch.Tensor, list[Any]]:
        result, report = run(spec(every, **fields), may_be_unwell=True)
        assert result.state == Job.SUCCEEDED, result.message
        assert result.model is not None
        points = [
            (step, {n: v for n, v in values.items() if not n.startswith("throughput/")})
            for step, values in report.points
        ]
        return flat(result.model), points

    (one, points), (other, others) = ends(1), ends(10)
    assert torch.equal(one, other)
    assert points == others


def test_points_of_a_window_share_its_time() -> None:
    made = Run(spec(10))
    assert made.to_the_end() is None
    rates = [value for _, value in made.report.series("throughput/samples_per_second")]
    assert len(rates) == LAST
    # Steps 2 to 11 are one window of whole batches, which begins after the point of step 1.
    assert rates[2:11] == pytest.approx([rates[2]] * 9, rel=0.01)
    assert all(math.isfinite(rate) and rate < 1e7 for rate in rates)


def test_a_gpu_is_read_every_20_steps_and_the_cpu_each_step() -> None:
    assert every_steps(None, torch.device("cuda", 0)) == 20
    assert every_steps(None, torch.device("cpu")) == 1
    assert every_steps(3, torch.device("cpu")) == 3


on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.gpu
@on_cuda
@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_windows_on_cuda_end_as_if_each_step_had_been_read(optimizer: str, guard: str) -> None:
    def ends(every: int | None) -> dict[str, Any]:
        asked = spec(every, guard=GUARDS[guard], optimizer=OPTIMIZERS[optimizer])
        return outcome(Run(asked, BAD, device=torch.device("cuda", 0)))

    read_each, read_many = ends(1), ends(None)
    assert len(read_each["decisions"]) == len(BAD)
    for name, found in read_each.items():
        assert same(read_many[name], found), name


@pytest.mark.gpu
@on_cuda
def test_cuda_is_seldom_waited_for() -> None:
    def waits(every: int) -> int:
        fields = {"training": {"steps": 320, "log_every_steps": 20}}
        asked = spec(every, model={"mlp": {"hidden": [16, 8]}}, **fields)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                result = training.run(
                    asked, report=NullReporter(), control=NeverStop(), device="cuda"
                )
            finally:
                torch.cuda.set_sync_debug_mode("default")
        assert result.state == Job.SUCCEEDED, result.message
        return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)

    each, seldom = waits(1), waits(20)
    assert each >= 320
    # All but some 25 of the 320 steps are read 20 at a time.
    assert each - seldom >= 270
