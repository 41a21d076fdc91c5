"""What is kept of a job's checkpoints, as attempts come and go."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests._hostile import CHECKPOINTS
from tests.worker._jobs import tiny_spec

from talweg.blobs import Blobs
from talweg.server.services.attempts import reports
from talweg.spec import has_control
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.workers_pb2 import Assignment, Lease
from talweg.worker.errors import StoreAwayError, UserSpecError
from talweg.worker.execution.checkpoints import keeper as keeper_module
from talweg.worker.execution.checkpoints.keeper import CheckpointKeeper
from talweg.worker.training import Snapshot

FOLDER = "jobs/a/checkpoints"


class ProgressLog:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.told: Mapping[str, Any] = {}
        self.unanswered: Sequence[Mapping[str, Any]] = []
        self.told_again: list[Mapping[str, Any]] = []

    def log(self, level: int, text: str) -> None:
        self.lines.append(text)

    def summary_state(self) -> Mapping[str, Any]:
        return self.told

    def go_on(self, told: Mapping[str, Any]) -> None:
        self.told = told

    def untold(self) -> Sequence[Mapping[str, Any]]:
        return self.unanswered

    def tell_again(self, events: Sequence[Mapping[str, Any]]) -> None:
        self.told_again += events


class Stopwatch:
    seconds = 0.0

    def go_on_after(self, seconds: float) -> None:
        self.seconds += seconds


class Record:
    """The server's part: it takes what attempts tell, and hands it to the next."""

    def __init__(self, folder: Path, **spec: Any) -> None:
        self.blobs = Blobs(str(folder))
        self.job = "jobs/a"
        self.kept: list[Checkpoint] = []
        self.attempt = 0
        self.teller = ProgressLog()
        self.stopwatch = Stopwatch()
        self._spec = tiny_spec(**spec)

    def begin(self, **more: Any) -> CheckpointKeeper:
        self.attempt += 1
        self.teller = ProgressLog()
        self.stopwatch = Stopwatch()
        assignment = Assignment(
            lease=Lease(job=self.job, attempt=self.attempt),
            spec=self._spec,
            checkpoints=self.kept,
        )
        return CheckpointKeeper(
            lambda: self.blobs,
            assignment,
            self.teller,
            self.stopwatch,
            pause=lambda seconds: None,
            **more,
        )

    def report(self, keeper: CheckpointKeeper) -> None:
        news = keeper.take_news()
        if news is not None:
            self.kept = list(news.checkpoints)
            keeper.taken(news)

    @property
    def steps(self) -> list[int]:
        return [each.step for each in self.kept]

    @property
    def files(self) -> set[str]:
        return {name.partition(".")[0] for name in self.blobs.names(FOLDER)}

    def is_in_order(self) -> bool:
        """Return what is named is there, and nothing else is."""
        return self.files == {each.name.rpartition("/")[2] for each in self.kept}


def moment(step: int) -> Snapshot:
    state = {"step": step, "stopped_early": False, "stopping": {"waited": 0}}
    return Snapshot({"model/a": torch.full((3,), float(step))}, {"state": state, "health": {}})


def save(keeper: CheckpointKeeper, step: int, *, best: int | None = None) -> None:
    given = None if best is None else (best, moment(best))
    keeper.save(moment(step), step=step, epoch=step // 10, best=given)


def loaded(keeper: CheckpointKeeper) -> int | None:
    found = keeper.load()
    return None if found is None else int(found.values["state"]["step"])


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path)


def test_a_new_job_begins(record: Record, tmp_path: Path) -> None:
    assert loaded(record.begin()) is None
    assert list(tmp_path.iterdir()) == []
    assert record.teller.lines == []


def test_the_next_attempt_goes_on_from_the_last(record: Record) -> None:
    keeper = record.begin()
    record.teller.told = {"train/loss": {"count": 3}}
    record.stopwatch.seconds = 7.5
    save(keeper, 10)
    save(keeper, 20)
    record.report(keeper)
    assert [(each.step, each.epoch, each.attempt) for each in record.kept] == [
        (10, 1, 1),
        (20, 2, 1),
    ]
    assert loaded(record.begin()) == 20
    assert record.teller.told == {"train/loss": {"count": 3}}
    assert record.stopwatch.seconds == 7.5


def test_two_are_kept_and_older_ones_go_once_the_record_knows(record: Record) -> None:
    keeper = record.begin()
    for step in (10, 20):
        save(keeper, step)
        record.report(keeper)
    save(keeper, 30)
    # The record still names the first.
    assert len(record.files) == 3
    record.report(keeper)
    assert record.steps == [20, 30]
    save(keeper, 40)
    record.report(keeper)
    keeper.clean_up()
    assert record.steps == [30, 40]
    assert record.is_in_order()


def test_an_attempt_whose_lease_is_gone_removes_nothing(record: Record) -> None:
    stale = record.begin(holds_lease=lambda: record.attempt == 1)
    for step in (10, 20):
        save(stale, step)
    record.report(stale)
    following = record.begin()
    assert loaded(following) == 20
    # It goes on for a while, and nobody takes what it tells.
    for step in (20, 30, 40, 50):
        save(stale, step)
    assert {name for name in record.files if name.endswith("-1")} >= {
        "000000000010-1",
        "000000000020-1",
    }
    save(following, 30)
    record.report(following)
    assert loaded(record.begin()) == 50


def test_what_another_attempt_may_go_on_from_stays_whatever_the_clocks_say(
    record: Record,
) -> None:
    # Its clock says that the lease is good, and the server's had jumped: another attempt began.
    stale = record.begin(holds_lease=lambda: True)
    for step in (10, 20):
        save(stale, step)
    following = record.begin()
    assert loaded(following) == 20
    record.report(following)
    assert record.steps == [10, 20]
    for step in (30, 40, 50):
        save(stale, step)
    assert record.files >= {"000000000010-1", "000000000020-1"}


@pytest.mark.parametrize("ending", [".json", ".safetensors"])
def test_a_damaged_one_is_passed_over_for_the_one_before(record: Record, ending: str) -> None:
    keeper = record.begin()
    for step in (10, 20):
        save(keeper, step)
    record.report(keeper)
    record.blobs.write(record.kept[-1].name + ending, b"\x00" * 100)
    assert loaded(record.begin()) == 10
    (line,) = record.teller.lines
    assert line.startswith("The checkpoint of step 20 is skipped")
    record.blobs.remove(record.kept[0].name + ending)
    assert loaded(record.begin()) is None
    assert record.teller.lines[-1] == "No checkpoint is intact: the job starts again."


def test_a_store_that_is_away_is_no_reason_to_begin_again(record: Record) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)

    class Away(Blobs):
        def read(self, path: str) -> bytes:
            raise OSError("no route")

    record.blobs = Away(record.blobs._root)
    with pytest.raises(StoreAwayError, match="no route"):
        record.begin().load()


def test_a_store_that_takes_nothing_stops_nothing(record: Record, tmp_path: Path) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    blobs, record.blobs = record.blobs, Blobs("/dev/null/blobs")
    save(keeper, 20)
    assert "checkpoint of step 20 could not be saved" in record.teller.lines[-1]
    assert "The last saved one, of step 10, is kept." in record.teller.lines[-1]
    record.report(keeper)
    assert record.steps == [10]
    record.blobs = blobs
    save(keeper, 30)
    record.report(keeper)
    assert record.steps == [10, 30]


def test_some_are_kept_for_good(tmp_path: Path) -> None:
    record = Record(tmp_path, training={"steps": 5, "checkpoints": {"keep_every": 3}})
    keeper = record.begin()
    for step in range(1, 6):
        save(keeper, step)
        record.report(keeper)
    # Another attempt counts on.
    keeper = record.begin()
    assert loaded(keeper) == 5
    for step in range(6, 9):
        save(keeper, step)
        record.report(keeper)
    keeper.clean_up()
    assert record.steps == [1, 4, 7, 8]
    assert [each.for_good for each in record.kept] == [True, True, True, False]
    assert record.is_in_order()


def test_no_more_are_kept_for_good_than_the_record_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside them stand the last two, the best, and what a job is continued from.
    assert keeper_module.MOST_FOR_GOOD + 4 <= reports._MAX_CHECKPOINTS
    monkeypatch.setattr(keeper_module, "MOST_FOR_GOOD", 3)
    record = Record(tmp_path, training={"steps": 5, "checkpoints": {"keep_every": 1}})
    keeper = record.begin()
    for step in range(10, 80, 10):
        save(keeper, step)
        record.report(keeper)
    assert record.steps == [10, 20, 30, 60, 70]
    (line,) = record.teller.lines
    assert line == (
        "3 checkpoints are kept permanently, and no more from step 40 on: "
        "increase training.checkpoints.keep_every."
    )


def test_the_best_stays_until_there_is_a_better(record: Record) -> None:
    keeper = record.begin()
    save(keeper, 10, best=8)
    for step in (20, 30, 40):
        save(keeper, step)
    record.report(keeper)
    assert [(each.step, each.best) for each in record.kept] == [
        (8, True),
        (30, False),
        (40, False),
    ]
    save(keeper, 50, best=50)
    record.report(keeper)
    keeper.clean_up()
    assert [(each.step, each.best) for each in record.kept] == [
        (40, False),
        (50, True),
        (50, False),
    ]
    assert record.is_in_order()


@pytest.mark.parametrize(("checkpoint", "left"), [(True, [30]), (False, [])])
def test_an_ended_job_keeps_the_last_or_none(
    tmp_path: Path, checkpoint: bool, left: list[int]
) -> None:
    record = Record(tmp_path, outputs={"checkpoint": checkpoint})
    keeper = record.begin()
    for step in (10, 20, 30):
        save(keeper, step)
    keeper.job_ends()
    record.report(keeper)
    keeper.clean_up()
    assert record.steps == left
    assert record.is_in_order()


def continued_record(folder: Path, **fields: Any) -> Record:
    """Another job's end has become a new job's beginning."""
    first = Record(folder, outputs={"checkpoint": True})
    keeper = first.begin()
    first.teller.told = {"val/loss": {"count": 3}}
    first.stopwatch.seconds = 7.5
    for step in (10, 20):
        save(keeper, step)
    keeper.job_ends()
    first.report(keeper)
    keeper.clean_up()
    second = Record(
        folder,
        continued_from={"job": "jobs/a", "step": 20, **fields},
        outputs={"checkpoint": True},
    )
    second.job = "jobs/b"
    second.kept = [Checkpoint()]
    second.kept[0].CopyFrom(first.kept[0])
    second.kept[0].for_good = True
    return second


def test_a_continued_job_begins_in_the_others_state(tmp_path: Path) -> None:
    record = continued_record(tmp_path)
    keeper = record.begin()
    record.stopwatch.seconds = 0
    assert loaded(keeper) == 20
    assert record.teller.lines == ["Continues jobs/a from step 20."]
    # Metrics and time are its own.
    assert record.teller.told == {}
    assert record.stopwatch.seconds == 0
    for step in (30, 40, 50):
        save(keeper, step)
        record.report(keeper)
    assert record.steps == [20, 40, 50]
    assert loaded(record.begin()) == 50
    keeper.job_ends()
    record.report(keeper)
    keeper.clean_up()
    assert record.steps == [50]
    # The other job's is untouched.
    assert record.blobs.names("jobs/a/checkpoints") != []
    assert loaded(continued_record(tmp_path).begin()) == 20


def test_a_first_part_brings_its_metrics_and_its_time(tmp_path: Path) -> None:
    record = continued_record(tmp_path, as_whole=True)
    assert loaded(record.begin()) == 20
    assert record.teller.told == {"val/loss": {"count": 3}}
    assert record.stopwatch.seconds == 7.5
    # Without it the job is trained from its beginning, with the same result.
    record.blobs.remove(record.kept[0].name + ".safetensors")
    assert record.begin().load() is None
    assert "trained from its beginning" in record.teller.lines[-1]


def test_a_continued_job_does_not_begin_anew(tmp_path: Path) -> None:
    record = continued_record(tmp_path)
    record.blobs.remove(record.kept[0].name + ".safetensors")
    with pytest.raises(UserSpecError, match="step 20 of jobs/a is no longer intact"):
        record.begin().load()


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name",
    [
        *CHECKPOINTS,
        # Of another job, which this one does not continue.
        "jobs/b/checkpoints/000000000010-1",
    ],
)
def test_a_name_that_is_none_of_the_jobs_is_passed_over(tmp_path: Path, name: str) -> None:
    record = Record(tmp_path / "data" / "blobs")
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    # Wherever the name may lead, something lies there that is of value to somebody.
    for folder in ("", "data", "data/blobs", "data/blobs/jobs/b/checkpoints"):
        for stem in ("victim", "000000000010-1", "000000000020-1"):
            for ending in (".json", ".safetensors"):
                file = tmp_path / folder / f"{stem}{ending}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"theirs")
    before = everything(tmp_path)
    record.kept.append(Checkpoint(name=name, step=99))
    keeper = record.begin()
    assert loaded(keeper) == 10
    (line,) = record.teller.lines
    assert line.startswith(
        "The record names something that is not a checkpoint of jobs/a, such as"
    )
    assert not has_control(line)
    record.report(keeper)
    for step in (20, 30, 40):
        save(keeper, step)
        record.report(keeper)
    keeper.job_ends()
    record.report(keeper)
    keeper.clean_up()
    assert name not in {each.name for each in record.kept}
    own = tmp_path / "data" / "blobs" / FOLDER
    after = everything(tmp_path)
    assert [path for path in before if path not in after and path.parent != own] == []
    assert all(after[path] == before[path] for path in before if path.parent != own)


def test_with_no_other_name_the_job_begins_again(record: Record) -> None:
    record.kept = [Checkpoint(name="jobs/a/checkpoints/../../../victim", step=10)]
    assert loaded(record.begin()) is None
    assert record.teller.lines[-1] == "No checkpoint is intact: the job starts again."


def test_a_continued_job_takes_no_third_jobs_checkpoint(tmp_path: Path) -> None:
    record = continued_record(tmp_path)
    record.kept[0].name = record.kept[0].name.replace("jobs/a/", "jobs/c/")
    with pytest.raises(UserSpecError, match="step 20 of jobs/a is no longer intact"):
        record.begin().load()


def test_what_is_no_checkpoint_stays_beside_them(record: Record) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    record.blobs.write(f"{FOLDER}/notes.json", b"theirs")
    assert loaded(record.begin()) == 10
    assert record.blobs.read(f"{FOLDER}/notes.json") == b"theirs"


def test_a_link_out_of_the_store_stops_nothing(record: Record, tmp_path: Path) -> None:
    keeper = record.begin()
    save(keeper, 10)
    record.report(keeper)
    victim = tmp_path.parent / f"{tmp_path.name}-victim.json"
    victim.write_bytes(b"theirs")
    (tmp_path / FOLDER / "000000000020-1.json").symlink_to(victim)
    following = record.begin()
    assert loaded(following) == 10
    save(following, 30)
    assert record.teller.lines == []
    assert victim.read_bytes() == b"theirs"
