"""What the command line says of several jobs, line by line."""

import json
from collections import Counter
from pathlib import Path

import grpc
import pytest
from tests.client.faulty import FaultyServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client, _submissions
from talweg.client._lines import job_title
from talweg.client.cli._root import run
from talweg.v1.spec_pb2 import JobSpec


def test_a_long_line_stays_one_where_no_terminal_is(
    faulty: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "word " * 100 + "end"
    with Client(faulty.address) as client, Worker(faulty.address) as worker:
        job = client.submit(sample())
        attempt = worker.claim(job.name)
        attempt.report(log=said)
        attempt.finish()
    assert run(["--address", faulty.address, "watch", job.id]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{job.id} mse on diabetes, seed 0: {said}" in lines


def test_an_ambiguous_id_keeps_no_other_job_from_being_cancelled(
    faulty: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(faulty.address) as client:
        # Ids begin with a character out of 32 or so: of forty some begin alike.
        jobs = client.submit_many([sample() for _ in range(40)])
        several = Counter(job.id[0] for job in jobs)
        some, number = several.most_common(1)[0]
        jobs = [jobs[0], *(job for job in jobs if job.id[0] != some)]
        arguments = ["cancel", jobs[1].id, some, jobs[2].id, "--json"]
        assert run(["--address", faulty.address, *arguments]) == 2
        captured = capsys.readouterr()
        assert [each["id"] for each in json.loads(captured.out)] == [jobs[1].id, jobs[2].id]
        assert f"is a prefix of {number if number <= 5 else 'more than 5'} jobs" in captured.err
        assert [job.refresh().state for job in jobs[1:3]] == ["CANCELLED"] * 2


def test_jobs_that_were_taken_before_a_failure_are_named(
    faulty: FaultyServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_submissions, "MAX_BATCH", 2)
    file = tmp_path / "batch.json"
    file.write_text(json.dumps({"base": sample(), "jobs": [{}, {}, {}]}))
    # Two calls check all three, the third takes two of them.
    faulty.fail_next("BatchSubmitJobs", None, None, None, grpc.StatusCode.INTERNAL)
    assert run(["--address", faulty.address, "submit", str(file), "--json"]) == 5
    captured = capsys.readouterr()
    with Client(faulty.address) as client:
        accepted = {job.name for job in client.jobs()}
    assert {job["name"] for job in json.loads(captured.out)} == accepted
    assert len(accepted) == 2
    assert "1 of 3 jobs were refused" in captured.err


def test_jobs_without_a_loss_in_their_name_are_named_by_what_they_do() -> None:
    replay, test = JobSpec(), JobSpec()
    replay.loss.mse.SetInParent()
    replay.replay.job, replay.replay.step = "jobs/abc", 3
    test.loss.mse.SetInParent()
    test.test_of.job = "jobs/abc"
    assert job_title(replay) == "replay of step 3 of abc"
    assert job_title(test) == "test of abc"
