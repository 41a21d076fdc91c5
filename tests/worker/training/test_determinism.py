"""Operators that add up in any order are refused, told of or let through, as a job asks for it."""

from typing import Any

import pytest
import torch
from tests.worker.training.jobs import flat, job

from talweg.v1.jobs_pb2 import Job
from talweg.worker import training
from talweg.worker.training import NeverStop, NullReporter, RecordingReporter
from talweg.worker.training.determinism import deterministic_operators, refused


def by_any_order() -> None:
    """An operator without a deterministic form, on the CPU too."""
    torch.zeros(4).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))


def test_where_it_is_asked_for_such_an_operator_is_refused() -> None:
    with deterministic_operators(True, NullReporter()), pytest.raises(RuntimeError) as caught:
        by_any_order()
    assert refused(caught.value) == "put_"
    assert refused(RuntimeError("another")) is None


def test_where_nothing_is_said_the_log_names_it_once() -> None:
    report = RecordingReporter()
    with deterministic_operators(None, report):
        for _ in range(3):
            by_any_order()
    (line,) = report.lines
    assert line.startswith("put_ has no deterministic implementation on this device")


def test_where_speed_is_asked_for_nothing_is_said() -> None:
    report = RecordingReporter()
    with deterministic_operators(False, report):
        by_any_order()
        assert torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.deterministic
    assert report.lines == []


@pytest.mark.parametrize("asked", [True, False, None])
def test_all_is_as_before_afterwards(asked: bool | None) -> None:
    memory: Any = torch.utils.deterministic

    def settings() -> tuple[object, ...]:
        return (
            torch.get_deterministic_debug_mode(),
            memory.fill_uninitialized_memory,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
        )

    before = settings()
    with pytest.raises(ValueError, match="ended"), deterministic_operators(asked, NullReporter()):
        raise ValueError("ended")
    assert settings() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_same_job_gives_the_same_result_on_cuda(channels_last: bool) -> None:
    asked = job(
        task="multiclass",
        dataset="digits",
        model="convnet",
        loss="cross_entropy",
        training={"steps": 40, "deterministic": True, "channels_last": channels_last},
    )
    ends = []
    for _ in range(2):
        result = training.run(asked, report=NullReporter(), control=NeverStop(), device="cuda")
        assert result.state == Job.SUCCEEDED, result.message
        assert result.model is not None
        ends.append(flat(result.model))
    assert torch.equal(ends[0], ends[1])
