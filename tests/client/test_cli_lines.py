"""What the command line says of several jobs, line by line."""

import json
from pathlib import Path

import grpc
import pytest
from tests.client.memory import MemoryServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client, _client
from talweg.client.cli._root import run


def test_a_long_line_stays_one_where_no_terminal_is(
    memory: MemoryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "word " * 100 + "end"
    with Client(memory.address) as client, Worker(memory.address) as worker:
        job = client.submit(sample())
        attempt = worker.claim(job.name)
        attempt.report(log=said)
        attempt.finish()
    assert run(["--address", memory.address, "watch", job.id]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{job.id} mse, seed 0: {said}" in lines


def test_an_ambiguous_id_keeps_no_other_job_from_being_cancelled(
    memory: MemoryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(memory.address) as client:
        # In memory each third id begins alike.
        jobs = client.submit_many([sample() for _ in range(4)])
        some = jobs[0].id[0]
        assert sum(job.id.startswith(some) for job in jobs) == 2
        arguments = ["cancel", jobs[1].id, some, jobs[2].id, "--json"]
        assert run(["--address", memory.address, *arguments]) == 2
        captured = capsys.readouterr()
        assert [each["id"] for each in json.loads(captured.out)] == [jobs[1].id, jobs[2].id]
        assert "is the beginning of 2 jobs" in captured.err
        assert [job.refresh().state for job in jobs[1:3]] == ["CANCELLED"] * 2


def test_jobs_that_were_taken_before_a_failure_are_named(
    memory: MemoryServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_client, "MAX_BATCH", 2)
    file = tmp_path / "batch.json"
    file.write_text(json.dumps({"base": sample(), "jobs": [{}, {}, {}]}))
    # Two calls check all three, the third takes two of them.
    memory.fail_next("BatchSubmitJobs", None, None, None, grpc.StatusCode.INTERNAL)
    assert run(["--address", memory.address, "submit", str(file), "--json"]) == 5
    captured = capsys.readouterr()
    assert [job["name"] for job in json.loads(captured.out)] == list(memory.record.jobs)
    assert len(memory.record.jobs) == 2
    assert "1 of 3 jobs were refused" in captured.err
