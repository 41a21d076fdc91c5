"""Snapshots: a training goes on from one as if it had never stopped."""

import json
import random
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import job
from tests.worker.training.resumable import every_case, resumable
from torch import Tensor, nn

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training import NeverStop, RecordingReporter, Stop
from talweg.worker.training.loop import train
from talweg.worker.training.setup import Setup, set_up
from talweg.worker.training.state.snapshot import Modules, Snapshot, Snapshots

CPU = torch.device("cpu")


class StopAt:
    """Stops after so many steps of this stretch; so does the last step itself, by the plan."""

    def __init__(self, count: int) -> None:
        self._left = count

    def check(self) -> Stop | None:
        self._left -= 1
        return Stop("shutdown") if self._left == 0 else None


def ready(spec: JobSpec, report: RecordingReporter) -> Setup:
    setup = set_up(spec, CPU, report)
    torch.manual_seed(spec.training.seed + 1)
    return setup


def go_on(setup: Setup, report: RecordingReporter, count: int | None = None) -> bool:
    """Train for so many steps, or to the end; whether that was reached."""
    ending = train(
        setup.step,
        plan=setup.plan,
        batches=setup.batches,
        evaluator=setup.evaluator,
        report=report,
        control=NeverStop() if count is None else StopAt(count),
    )
    assert ending is None or isinstance(ending, Stop)
    return ending is None


def everything(setup: Setup) -> dict[str, Any]:
    """Return all that training changes, but for the clock's."""
    snapshot = setup.snapshots.capture()
    values = json.loads(json.dumps(snapshot.values))
    values["recorder"].pop("seconds")
    return {"tensors": snapshot.tensors, "values": repr(values)}


def points_of(report: RecordingReporter) -> list[tuple[int, dict[str, float]]]:
    return [
        (step, {name: v for name, v in values.items() if not name.startswith("throughput/")})
        for step, values in report.points
    ]


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["values"] == other["values"]
    assert one["tensors"].keys() == other["tensors"].keys()
    for name, tensor in one["tensors"].items():
        # Gradient flow is NaN at points that are still to come.
        torch.testing.assert_close(
            tensor, other["tensors"][name], rtol=0, atol=0, equal_nan=True, msg=name
        )


@every_case
def test_a_run_in_pieces_is_the_run_in_one(name: str) -> None:
    spec = resumable(name)
    whole_report = RecordingReporter()
    whole = ready(spec, whole_report)
    assert go_on(whole, whole_report)

    drawn = random.Random(name)
    report = RecordingReporter()
    setup = ready(spec, report)
    stops = []
    while not go_on(setup, report, drawn.randrange(1, 8)):
        stops.append(setup.state.order.position)
        kept = setup.snapshots.capture()
        # What a file gives back, in a process that has drawn numbers of its own.
        kept.values = json.loads(json.dumps(kept.values))
        setup = ready(spec, report)
        torch.rand(7)
        setup.snapshots.restore(kept)
    assert len(set(stops)) >= 2
    assert_same(everything(setup), everything(whole))
    assert points_of(report) == points_of(whole_report)


@every_case
def test_a_training_goes_back_in_memory(name: str) -> None:
    spec = resumable(name)
    report = RecordingReporter()
    setup = ready(spec, report)
    at_start = setup.snapshots.capture()
    go_on(setup, report, 4)
    kept, before = setup.snapshots.capture(), everything(setup)
    go_on(setup, report, 7)
    after = everything(setup)
    setup.snapshots.restore(kept)
    assert_same(everything(setup), before)
    go_on(setup, report, 7)
    assert_same(everything(setup), after)
    # Before its first step an optimizer holds nothing, and so it is again.
    setup.snapshots.restore(at_start)
    go_on(setup, report, 4)
    assert_same(everything(setup), before)


def test_capturing_again_takes_no_new_memory() -> None:
    report = RecordingReporter()
    setup = ready(resumable("binary, RMSprop, early stopping"), report)
    go_on(setup, report, 2)
    kept = setup.snapshots.capture()
    places = {name: tensor.data_ptr() for name, tensor in kept.tensors.items()}
    go_on(setup, report, 3)
    again = setup.snapshots.capture(into=kept)
    assert again is kept
    assert {name: tensor.data_ptr() for name, tensor in again.tensors.items()} == places
    assert_same({"tensors": again.tensors, "values": ""}, everything(setup) | {"values": ""})
    live = dict(setup.state.model.named_parameters())
    assert all(tensor.data_ptr() not in places.values() for tensor in live.values())


def test_restoring_writes_into_the_tensors_that_are_there() -> None:
    report = RecordingReporter()
    setup = ready(job(), report)
    go_on(setup, report, 2)
    kept = setup.snapshots.capture()
    settings = setup.state.optimizer.param_groups[0]
    tensors = setup.snapshots._parts["optimizer"].tensors()
    model = dict(setup.state.model.named_parameters())
    places = [tensor.data_ptr() for tensor in (*tensors.values(), *model.values())]
    go_on(setup, report, 3)
    setup.snapshots.restore(kept)
    tensors = setup.snapshots._parts["optimizer"].tensors()
    assert [tensor.data_ptr() for tensor in (*tensors.values(), *model.values())] == places
    assert setup.state.optimizer.param_groups[0] is settings


def test_a_part_alone_can_be_brought_back() -> None:
    report = RecordingReporter()
    setup = ready(job(), report)
    go_on(setup, report, 2)
    kept = setup.snapshots.capture()
    go_on(setup, report, 3)
    setup.snapshots.restore(kept, only={"model", "optimizer"})
    assert setup.state.step == 5
    assert torch.equal(next(setup.state.model.parameters()), kept.tensors["model/linear1.weight"])


def test_another_models_snapshot_is_refused() -> None:
    report = RecordingReporter()
    kept = ready(job(), report).snapshots.capture()
    wider = ready(job(model={"mlp": {"hidden": [17]}}), report)
    with pytest.raises(ValueError, match=r"model is another's: linear1.weight must be of shape"):
        wider.snapshots.restore(kept)
    deeper = ready(job(model={"mlp": {"hidden": [16, 16]}}), report)
    with pytest.raises(ValueError, match=r"missing \['linear3.bias', 'linear3.weight'\]"):
        deeper.snapshots.restore(kept)
    with pytest.raises(ValueError, match="the snapshot has no optimizer"):
        deeper.snapshots.restore(Snapshot(values={"model": {}}), only={"optimizer"})


class Counting(nn.Module):
    """Holds what torch does not see, and a buffer that its state_dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.hidden: Tensor

    def get_extra_state(self) -> dict[str, int]:
        return {"count": self.count}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def test_extra_state_and_hidden_buffers_are_kept() -> None:
    module = nn.Sequential(Counting(), nn.Linear(2, 2))
    counting = module[0]
    assert isinstance(counting, Counting)
    snapshots = Snapshots({"model": Modules(module), "loss": Modules(module, without=module[1])})
    counting.count = 3
    counting.hidden += 2
    kept = snapshots.capture()
    assert {"model/0.hidden", "model/1.weight", "loss/0.hidden"} < set(kept.tensors)
    assert "loss/1.weight" not in kept.tensors
    counting.count = 9
    counting.hidden += 5
    snapshots.restore(kept)
    assert counting.count == 3
    assert counting.hidden.tolist() == [2, 2]
