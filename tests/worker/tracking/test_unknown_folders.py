"""The worker lists folders that belong to no job, and removes those that the server names."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.worker._jobs import Jobs, tiny_spec

from talweg.blobs import Blobs
from talweg.v1.jobs_pb2 import CollectJobsRequest, CollectJobsResponse
from talweg.worker.settings import Settings
from talweg.worker.tracking.folders import UnknownFolders
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.removals import Removals
from talweg.worker.tracking.runs import Runs

STRANGER, YOUNG = "jobs/strangerofold", "jobs/strangerofnew"


def collected(jobs: Jobs, *, only_look: bool) -> CollectJobsResponse:
    request = CollectJobsRequest(unknown_folders=True, validate_only=only_look)
    request.older_than.FromTimedelta(timedelta(days=30))
    return jobs.channel.jobs.CollectJobs(request)


def test_an_unknown_folder_is_listed_first_and_removed_on_request(
    jobs: Jobs, settings: Settings
) -> None:
    known = jobs.submit(tiny_spec())
    blobs, store = Blobs(settings.blobs), Path(settings.blobs)
    for name in (known, STRANGER, YOUNG):
        blobs.write(f"{name}/checkpoints/a.json", b"{}")
        blobs.write(f"{name}/model/b", b"1234")
    (store / "jobs" / "not a job").mkdir()
    old = (datetime.now(UTC) - timedelta(days=100)).timestamp()
    for name in (known, STRANGER):
        for path in (store / name).rglob("*"):
            os.utime(path, (old, old))
    record = Record(jobs.channel)
    assert UnknownFolders(record, settings.blobs).report() == 2
    (folder,) = collected(jobs, only_look=True).folders
    assert (folder.name, folder.bytes) == (STRANGER, 6)
    assert abs(folder.write_time.ToSeconds() - old) <= 1
    removals = Removals(record, Runs(settings.tracking_uri), settings.blobs)
    assert removals.carry_out() == 0
    assert len(collected(jobs, only_look=False).folders) == 1
    assert removals.carry_out() == 1
    assert not (store / STRANGER).exists()
    assert (store / known).exists()
    assert (store / YOUNG / "model" / "b").read_bytes() == b"1234"
    assert UnknownFolders(record, settings.blobs).report() == 1


def test_the_age_is_that_of_the_file_written_last(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    assert blobs.last_write("jobs/none") is None
    blobs.write("jobs/a/model/old", b"1")
    blobs.write("jobs/a/checkpoints/new", b"22")
    for path, seconds in (("jobs/a/model/old", 1e9), ("jobs/a/checkpoints/new", 1.5e9)):
        os.utime(tmp_path / path, (seconds, seconds))
    written = blobs.last_write("jobs/a")
    assert written is not None
    assert (written[0].timestamp(), written[1]) == (1.5e9, 3)
    (tmp_path / "jobs" / "empty").mkdir()
    os.utime(tmp_path / "jobs" / "empty", (1e9, 1e9))
    empty = blobs.last_write("jobs/empty")
    assert empty is not None
    assert (empty[0].timestamp(), empty[1]) == (1e9, 0)
