"""What a dead process leaves: its job fails at once where memory did not suffice."""

from collections.abc import Iterator

import pytest
from tests.worker._jobs import Jobs, tiny_spec

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker import cgroups
from talweg.worker.execution.last_words import LastWords, tell_of_lost


@pytest.fixture
def words() -> Iterator[LastWords]:
    words = LastWords()
    yield words
    words.close()


@pytest.mark.parametrize("num_killed", [0, 1])
def test_a_job_that_the_kernel_killed_for_memory_fails_and_others_run_again(
    num_killed: int, words: LastWords, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "num_killed", lambda: 3)
    lease = jobs.begin(tiny_spec()).lease
    words.begins(lease)
    monkeypatch.setattr(cgroups, "num_killed", lambda: 3 + num_killed)
    lost = words.take()
    assert lost is not None
    assert lost.lease == lease
    assert words.take() is None
    tell_of_lost(jobs.channel, lost)
    job = jobs.get(lease.job)
    if num_killed:
        assert (job.state, job.outcome.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)
        assert "memory limit of its control group" in job.outcome.message
        assert "Lower training.batch_size" in job.outcome.message
    else:
        assert job.state == Job.QUEUED
