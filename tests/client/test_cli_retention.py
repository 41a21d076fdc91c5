"""`talweg rm` and `talweg gc`."""

import io
import os
from pathlib import Path

import pytest
from tests.client.commands import Talweg
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.blobs import Blobs
from talweg.client import Client, FailedPrecondition, NotFound


def ended(client: Client, worker: Worker, value: float, experiment: str) -> str:
    job = client.submit(sample(experiment=experiment))
    attempt = worker.claim()
    attempt.finish(metrics={"test/mae": value})
    attempt.deliver("http://127.0.0.1:1", run_id=job.id)
    return job.id


def test_rm(
    talweg: Talweg, client: Client, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = ended(client, worker, 1.0, "to remove")
    waiting = client.submit(sample(experiment="to remove"))
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = talweg("rm", id_)
    assert done.status == 130
    assert f"Delete {id_}?" in done.err
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    done = talweg("rm", id_)
    assert done.status == 2
    assert "nothing was done: add --yes" in done.err
    done = talweg("rm", "--experiment", "to remove", "--yes")
    assert done.status == 6
    assert done.out == f"{id_} is deleted\n"
    assert f"{waiting.id}: jobs/{waiting.id} is QUEUED: cancel it first" in done.err
    with pytest.raises(NotFound):
        client.job(id_)
    with pytest.raises(FailedPrecondition):
        waiting.delete()


def test_gc_lists_before_it_deletes(talweg: Talweg, client: Client, worker: Worker) -> None:
    best = ended(client, worker, 1.0, "to collect")
    worse = ended(client, worker, 2.0, "to collect")
    arguments = ("gc", "--older-than", "0s", "--filter", 'experiment = "to collect"')
    done = talweg(*arguments, "--dry-run")
    assert done.out.startswith(worse)
    assert best not in done.out
    assert "1 jobs to delete, 1 of that age stay" in done.err
    assert client.job(worse)
    assert talweg(*arguments, "--yes").status == 0
    with pytest.raises(NotFound):
        client.job(worse)
    assert client.job(best)
    done = talweg("gc", "--older-than", "soon")
    assert done.status == 2
    assert "a time must look like 30d, 12h or 4w" in done.err


def test_folders_of_forgotten_jobs_are_listed_before_they_are_removed(
    talweg: Talweg, client: Client, store: Path
) -> None:
    Blobs(str(store)).write("jobs/forgottenjob/model/b", bytes(2_500_000))
    os.utime(store / "jobs/forgottenjob/model/b", (1_600_000_000, 1_600_000_000))
    arguments = ("gc", "--unknown-folders", "--older-than", "30d")
    done = talweg(*arguments, "--dry-run")
    assert done.out.startswith("jobs/forgottenjob  2.5 MB  last written ")
    assert "1 folders to remove" in done.err
    assert talweg(*arguments, "--filter", "state = FAILED").status == 2
    assert "a worker removes 1 folders" in talweg(*arguments, "--yes").err
    assert talweg(*arguments, "--dry-run").out == ""
