"""Checkpoints that the record never heard of, half-written ones, and files that cannot be read."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from tests.worker.execution.test_checkpoint_keeper import FOLDER, Record, loaded, save

from talweg.blobs import Blobs
from talweg.v1.jobs_pb2 import Event, LogLine
from talweg.v1.workers_pb2 import Kept
from talweg.worker.errors import StoreAwayError
from talweg.worker.execution.reporter import JobReporter
from talweg.worker.tracking.spool import SpoolWriter


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path)


def named_files_are_there(record: Record) -> bool:
    names = {each.name.rpartition("/")[2] for each in record.kept}
    return names <= record.files


def on_disk(folder: Path) -> set[str]:
    return {file.name for file in (folder / FOLDER).iterdir()}


def test_what_a_report_under_way_names_stays(record: Record) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    save(keeper, 20)
    # Sent, and the server does not answer while three more are written.
    under_way = keeper.take_news()
    assert under_way is not None
    for step in (30, 40, 50):
        save(keeper, step)
    # It had taken the report; then the worker dies.
    record.kept = list(under_way.checkpoints)
    assert record.steps == [10, 20]
    assert named_files_are_there(record)
    # Had it lived, the older ones would be gone by now.
    keeper.taken(under_way)
    record.report(keeper)
    keeper.clean_up()
    assert record.steps == [40, 50]
    assert record.is_in_order()


def test_a_refused_report_keeps_nothing_for_good(record: Record) -> None:
    keeper = record.begin()
    save(keeper, 10)
    assert isinstance(keeper.take_news(), Kept)
    for step in (20, 30):
        save(keeper, step)
    record.report(keeper)
    keeper.clean_up()
    assert record.steps == [20, 30]
    assert record.is_in_order()


def test_the_next_attempt_goes_on_from_what_could_not_be_reported(record: Record) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    record.teller.told = {"train/loss": {"count": 3}}
    record.stopwatch.seconds = 7.5
    for step in (20, 30):
        save(keeper, step)
    following = record.begin()
    assert loaded(following) == 30
    assert record.teller.lines == [
        "The checkpoint of step 30 was saved by attempt 1, which could not report it. It is "
        "intact, and the job resumes from it."
    ]
    assert record.teller.told == {"train/loss": {"count": 3}}
    assert record.stopwatch.seconds == 7.5
    # The record hears of them at once; what it named until then stays as long.
    assert len(record.files) == 3
    record.report(following)
    assert record.steps == [20, 30]
    save(following, 40)
    record.report(following)
    following.clean_up()
    assert record.steps == [30, 40]
    assert record.is_in_order()


def test_a_job_killed_before_its_first_report_goes_on(record: Record) -> None:
    save(record.begin(), 10)
    assert record.kept == []
    assert loaded(record.begin()) == 10


@pytest.mark.parametrize("ending", [".json", ".safetensors"])
def test_damaged_ones_are_passed_over_in_order_and_removed(record: Record, ending: str) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    for step in (20, 30):
        save(keeper, step)
    record.blobs.write(f"{FOLDER}/000000000030-1{ending}", b"\x00" * 100)
    assert loaded(record.begin()) == 20
    assert record.teller.lines[0].startswith("The checkpoint of step 30 is skipped")
    assert "000000000030-1" not in record.files
    record.blobs.write(f"{FOLDER}/000000000020-1{ending}", b"\x00" * 100)
    assert loaded(record.begin()) == 10
    assert record.is_in_order()


def test_a_damaged_one_is_not_counted_among_the_last_two(record: Record) -> None:
    keeper = record.begin()
    for step in (10, 20):
        save(keeper, step)
    record.report(keeper)
    record.blobs.write(f"{FOLDER}/000000000020-1.json", b"{}")
    keeper = record.begin()
    assert loaded(keeper) == 10
    save(keeper, 20)
    record.report(keeper)
    assert [(each.step, each.attempt) for each in record.kept] == [(10, 1), (20, 2)]


def test_a_state_of_another_spec_is_passed_over(tmp_path: Path) -> None:
    record = Record(tmp_path)
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    save(keeper, 20)
    other = Record(tmp_path, training={"steps": 6})
    other.attempt, other.kept = record.attempt, record.kept
    assert loaded(other.begin()) == 10
    assert "it was made by another spec" in other.teller.lines[0]


def test_of_the_same_step_the_records_own_is_taken(record: Record) -> None:
    save(record.begin(), 10)
    other = record.begin()
    save(other, 10)
    record.report(other)
    assert loaded(record.begin()) == 10
    assert record.teller.lines == []
    assert record.files == {"000000000010-2"}


def test_the_best_and_what_is_for_good_are_named_though_late(tmp_path: Path) -> None:
    record = Record(tmp_path, training={"steps": 5, "checkpoints": {"keep_every": 2}})
    keeper = record.begin()
    save(keeper, 10, best=8)
    record.report(keeper)
    save(keeper, 20, best=18)
    for step in (30, 40, 50, 60):
        save(keeper, step)
    following = record.begin()
    assert loaded(following) == 60
    record.report(following)
    assert [(each.step, each.best, each.for_good) for each in record.kept] == [
        (10, False, True),
        (18, True, False),
        (30, False, True),
        (50, False, True),
        (60, False, False),
    ]
    assert named_files_are_there(record)
    # It counts on.
    save(following, 70)
    record.report(following)
    assert [each.step for each in record.kept if each.for_good] == [10, 30, 50, 70]


def test_what_the_server_did_not_hear_is_told_again(record: Record, tmp_path: Path) -> None:
    """The record of a job must not lack the evaluations between two checkpoints."""
    keeper = record.begin()
    record.teller.unanswered = [{"log": {"text": "unheard"}}]
    save(keeper, 10)
    record.report(keeper)
    # The report that names a checkpoint holds what was told before it.
    assert loaded(record.begin()) == 10
    assert record.teller.told_again == []
    save(keeper, 20)
    assert loaded(record.begin()) == 20
    assert record.teller.told_again == [{"log": {"text": "unheard"}}]


def test_events_without_an_answer_are_untold(record: Record, tmp_path: Path) -> None:
    with SpoolWriter(tmp_path / "spool", job_id="a", attempt=1) as spool:
        reporter = JobReporter(record._spec, spool)
        reporter.log(LogLine.INFO, "first")
        reporter.metrics(10, {"val/mae": 0.1})
        first = reporter.take_news()
        reporter.metrics(20, {"val/mae": 0.7})
        reporter.log(LogLine.INFO, "second")
        reporter.summary_state()
        untold = reporter.untold()
        # The second question says that the first answer has arrived.
        second = reporter.take_news()
        assert [event.WhichOneof("kind") for event in first.events] == ["log", "metrics"]
        another = JobReporter(record._spec, spool)
        another.tell_again(untold)
        assert another.take_news().events == [*first.events, *second.events]
        assert reporter.untold() == untold[2:]
        reporter.take_news()
        assert reporter.untold() == []
        assert all(isinstance(event, Event) for event in second.events)


# Half-written files.


def test_what_a_kill_in_mid_write_left_is_removed(record: Record, tmp_path: Path) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    folder = tmp_path / FOLDER
    elsewhere = tmp_path / "jobs/b/checkpoints"
    elsewhere.mkdir(parents=True)
    gone = [".000000000020-1.safetensors.part", ".000000000020-1-best.json.part"]
    stays = [".000000000020-2.json.part", ".notes.part", ".000000000020-1.json", "notes.part"]
    for name in (*gone, *stays):
        (folder / name).write_bytes(b"half")
        (elsewhere / name).write_bytes(b"half")
    # The second of the two files is missing: it was killed between them.
    record.blobs.write(f"{FOLDER}/000000000020-1.safetensors", b"whole")
    assert loaded(record.begin()) == 10
    assert record.teller.lines == []
    assert on_disk(tmp_path) == {"000000000010-1.json", "000000000010-1.safetensors", *stays}
    assert {file.name for file in elsewhere.iterdir()} == {*gone, *stays}


# Files that cannot be read.


class Failing(Blobs):
    """A store that fails for some paths; it can be listed."""

    def __init__(self, blobs: Blobs, part: str, error: OSError) -> None:
        super().__init__(blobs._root)
        self.part, self.error = part, error

    def read(self, path: str) -> bytes:
        if self.part in path:
            raise self.error
        return super().read(path)


ERRORS = [errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ENOTDIR]


@pytest.mark.parametrize("number", [*ERRORS, errno.ETIMEDOUT, None])
def test_one_file_that_cannot_be_read_is_passed_over(record: Record, number: int | None) -> None:
    keeper = record.begin()
    for step in (10, 20):
        save(keeper, step)
    record.report(keeper)
    error = OSError("no route") if number is None else OSError(number, os.strerror(number))
    record.blobs = Failing(record.blobs, "20-1.json", error)
    assert loaded(record.begin()) == 10
    (line,) = record.teller.lines
    assert line.startswith("The checkpoint of step 20 is skipped: it cannot be read")


def test_a_folder_in_a_files_place_is_passed_over(record: Record, tmp_path: Path) -> None:
    keeper = record.begin()
    for step in (10, 20):
        save(keeper, step)
    record.report(keeper)
    file = tmp_path / f"{record.kept[-1].name}.safetensors"
    file.unlink()
    file.mkdir()
    assert loaded(record.begin()) == 10
    # And where it is the only one, the job begins again rather than wait for it for ever.
    record.kept = record.kept[-1:]
    shutil.rmtree(tmp_path / FOLDER)
    file.mkdir(parents=True)
    (tmp_path / f"{record.kept[0].name}.json").mkdir()
    assert loaded(record.begin()) is None
    assert record.teller.lines[-1] == "No checkpoint is intact: the job starts again."


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_store_that_cannot_be_listed_is_away(record: Record, number: int) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)

    class Away(Failing):
        def names(self, folder: str) -> list[str]:
            raise self.error

    error = OSError(number, os.strerror(number))
    blobs, record.blobs = record.blobs, Away(record.blobs, "", error)
    with pytest.raises(StoreAwayError, match=os.strerror(number)):
        record.begin().load()
    # With nothing on record there is nothing to wait for.
    kept, record.kept = record.kept, []
    assert loaded(record.begin()) is None
    record.blobs, record.kept = blobs, kept
    assert loaded(record.begin()) == 10


def test_what_may_be_readable_later_stays(record: Record) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    save(keeper, 20)
    blobs = record.blobs
    record.blobs = Failing(blobs, "20-1.json", OSError(errno.ETIMEDOUT, "timed out"))
    assert loaded(record.begin()) == 10
    record.blobs = blobs
    assert loaded(record.begin()) == 20
