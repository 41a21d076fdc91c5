"""How a run ends that does not come to its last step, and whose fault it is."""

import math
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import job, run

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker import training
from talweg.worker.clock import Clock
from talweg.worker.execution.control import JobControl
from talweg.worker.training import NeverStop, RecordingReporter, Stop


class StopAt:
    """Asks for an end at a step."""

    def __init__(self, step: int, stop: Stop) -> None:
        self._left = step
        self._stop = stop

    def check(self) -> Stop | None:
        self._left -= 1
        return self._stop if self._left == 0 else None


@pytest.mark.parametrize(
    ("reason", "state", "cause"),
    [
        ("cancel", Job.CANCELLED, Outcome.CANCEL_REQUEST),
        ("time_limit", Job.FAILED, Outcome.TIME_LIMIT),
        ("shutdown", Job.QUEUED, Outcome.CAUSE_UNSPECIFIED),
        ("lost", Job.QUEUED, Outcome.CAUSE_UNSPECIFIED),
    ],
)
def test_it_stops_at_the_step_at_which_it_is_asked_to(reason: Any, state: int, cause: int) -> None:
    stop = Stop(reason, "because")
    result, report = run(job(resources={"time_limit_seconds": 600}), StopAt(5, stop))
    assert (result.state, result.cause, result.steps) == (state, cause, 5)
    assert report.steps == 5
    assert "step 5: because" in result.message
    assert result.model is None
    # The last step has a point, though it came before its time; unless the run goes on elsewhere.
    goes_on = reason in ("shutdown", "lost")
    assert report.series("train/loss")[-1][0] == (1 if goes_on else 5)


class Ticking(Clock):
    """A second passes whenever it is asked."""

    def __init__(self) -> None:
        self._seconds = 0

    def monotonic(self) -> float:
        self._seconds += 1
        return self._seconds


def test_the_time_limit_ends_a_run() -> None:
    control = JobControl(lease_end=math.inf, time_limit=7, clock=Ticking())
    result, _ = run(job(resources={"time_limit_seconds": 7}), control)
    assert (result.state, result.cause, result.steps) == (Job.FAILED, Outcome.TIME_LIMIT, 7)
    assert "resources.time_limit_seconds 7" in result.message


class Allocates:
    """Asks the machine for more memory than there is."""

    def check(self) -> Stop | None:
        torch.empty(2**60)
        return None


def test_memory_that_does_not_suffice_is_a_result_with_a_hint() -> None:
    result, _ = run(job(), Allocates())
    assert (result.state, result.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)
    assert "training.batch_size, 32 now" in result.message


class Fails:
    """Has a defect."""

    def check(self) -> Stop | None:
        raise RuntimeError("a defect")


def test_defects_are_raised_and_leave_the_process_as_it_was() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with pytest.raises(RuntimeError, match="a defect"):
        run(job(), Fails())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"loss": {"huber": {"delta": -1.0}}}, "loss.huber.delta"),
        ({"loss": {"poisson_nll": {"log_input": False}}}, "omit log_input"),
        ({"loss": {"expression": "abs(prd)"}}, "loss.expression.formula: found 'prd' at column 5"),
        (
            {"loss": {"expression": "log(pred - target)"}},
            "loss.expression.formula: tried on the first batch, the value of the loss is nan",
        ),
        (
            {"loss": {"expression": "mean(pred, 0)"}},
            "for pred of shape (32, 1) it has shape (1, 1)",
        ),
        (
            {
                "loss": {
                    "sum": {
                        "terms": [
                            {"loss": "mse"},
                            {"loss": {"expression": "sqrt(abs(pred - target))"}},
                        ]
                    }
                }
            },
            "loss.sum.terms[1].loss.expression.formula: tried on the first batch, the gradient",
        ),
        ({"loss": {"expression": "pred / 0**1 + pred * (1 / 0)"}}, "'/' at column 25 gives inf"),
        (
            {
                "task": "multiclass",
                "dataset": {"synthetic_classification": {"num_features": 2, "num_informative": 2}},
                "loss": "cross_entropy",
                "model": {"sequential": {"layers": ["relu"]}},
            },
            "no trainable parameters",
        ),
    ],
)
def test_what_the_spec_is_to_blame_for_is_said_so(fields: dict[str, Any], says: str) -> None:
    result, report = run(job(**fields))
    assert (result.state, result.cause, result.steps) == (Job.FAILED, Outcome.USER_SPEC, 0)
    assert says in result.message
    assert report.steps == 0


def test_cuda_on_a_machine_without_it_is_not_the_jobs_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="needs a CUDA device"):
        training.run(job(), report=RecordingReporter(), control=NeverStop(), device="cuda")
