"""A job in several processes, one of which is killed."""

import os
from typing import Any

import pytest
import torch
from tests._parts import wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker._ranks import Kills, members
from tests.worker.execution.conftest import Worker

from talweg.v1.jobs_pb2 import Job
from talweg.worker import training
from talweg.worker.training import Result


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.faults
def test_a_killed_process_restarts_the_job_from_its_checkpoint(worker: Worker, jobs: Jobs) -> None:
    spec = tiny_spec(
        # By dropout the random state counts too.
        model={"mlp": {"hidden": [16], "dropout": 0.3}},
        training={"steps": 40, "checkpoints": {"every_steps": 10}},
        resources={"processes": 2},
    )
    results: list[Result] = []
    kills = Kills(15)

    def disturbed(*args: Any, **fields: Any) -> Result:
        results.append(training.run(*args, **{**fields, "control": kills}))
        return results[-1]

    def kept(*args: Any, **fields: Any) -> Result:
        results.append(training.run(*args, **fields))
        return results[-1]

    undisturbed = jobs.submit(spec)
    worker.answer(run=kept)
    assert jobs.get(undisturbed).state == Job.SUCCEEDED

    name = jobs.submit(spec)
    worker.answer(run=disturbed)
    assert len(kills.killed) == 1
    assert members() == []
    assert not torch.distributed.is_initialized()
    wait_until(
        lambda: worker.answer(run=kept) or jobs.get(name).state == Job.SUCCEEDED,
        timeout=60,
        what="it runs again",
    )
    job = jobs.get(name)
    assert job.state == Job.SUCCEEDED, job.outcome.message
    assert job.attempt == 2
    lines = [event.log.text for event in jobs.events(name) if event.HasField("log")]
    assert "Resumes from the checkpoint of step 10." in lines
    killed = "This attempt is lost: the process of rank 1 (of 2) was killed by SIGKILL"
    assert any(line.startswith(killed) for line in lines), lines
    # The record was told at once, and need not wait for the lease to run out.
    reasons = [event.state.reason for event in jobs.events(name)]
    assert any("was lost in attempt 1: the process of rank 1" in reason for reason in reasons)
    first, again = (result.model for result in results)
    assert first is not None
    assert again is not None
    weights, same = first.state_dict(), again.state_dict()
    assert all(torch.equal(weights[layer], same[layer]) for layer in weights)
