"""What a training process leaves on disk, and what a reader makes of it."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.execution.reporter import JobReporter
from talweg.worker.tracking import spool
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.spool import LINES, SpoolWriter, is_being_written, read_lines


def writer(folder: Path, attempt: int = 1) -> SpoolWriter:
    return SpoolWriter(folder, job_id="abc", attempt=attempt)


def lines_of(folder: Path) -> Path:
    return spool.attempt_folder(folder, job_id="abc", attempt=1) / LINES


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    with writer(tmp_path) as w:
        w.begin(worker="w", spec={"loss": {"mse": {}}})
        w.points([(1, 1000, {"train/loss": 0.1 + 0.2}), (2, 1001, {"train/loss": 1e-300})])
        w.end(state="SUCCEEDED")
    begin, metrics, end = read_lines(lines_of(tmp_path))
    assert begin.content["spec"] == {"loss": {"mse": {}}}
    assert metrics.content["points"] == [
        [1, 1000, {"train/loss": 0.1 + 0.2}],
        [2, 1001, {"train/loss": 1e-300}],
    ]
    assert end.content["state"] == "SUCCEEDED"
    assert end.end == lines_of(tmp_path).stat().st_size


def test_a_spool_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "spool"
    with SpoolWriter(folder, job_id="a" * 12, attempt=1):
        assert oct(folder.stat().st_mode & 0o777) == "0o700"


def test_torn_tail_is_left_until_it_is_whole(tmp_path: Path) -> None:
    with writer(tmp_path) as w:
        w.points([(1, 1000, {"a": 1.0})])
    path = lines_of(tmp_path)
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"kind":"metrics","points":[[2,1001,{"a":2.')
    (line,) = read_lines(path)
    assert line.end == whole
    assert list(read_lines(path, start=line.end)) == []
    with path.open("ab") as file:
        file.write(b"5}]]}\n")
    (late,) = read_lines(path, start=line.end)
    assert late.content["points"] == [[2, 1001, {"a": 2.5}]]


def test_a_line_that_is_no_json_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / LINES
    path.write_bytes(b'{"kind":"a"}\n{"kind":"metr\n[1]\n{"kind":"b"}\n')
    assert [line.kind for line in read_lines(path)] == ["a", "b"]


def test_nothing_is_on_disk_before_flush(tmp_path: Path) -> None:
    with writer(tmp_path) as w:
        w.begin(worker="w", spec={})
        assert lines_of(tmp_path).stat().st_size == 0
        w.flush()
        assert lines_of(tmp_path).stat().st_size > 0


def test_a_writer_is_known_to_live_until_it_ends_or_is_killed(tmp_path: Path) -> None:
    assert not is_being_written(lines_of(tmp_path))
    with writer(tmp_path) as w:
        assert is_being_written(lines_of(tmp_path))
        # A look takes nothing away from the writer.
        assert is_being_written(lines_of(tmp_path))
        w.end(state="SUCCEEDED")
    assert not is_being_written(lines_of(tmp_path))
    code = (
        "import sys; from pathlib import Path\n"
        "from talweg.worker.tracking.spool import SpoolWriter\n"
        "w = SpoolWriter(Path(sys.argv[1]), job_id='abc', attempt=1); print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        assert is_being_written(lines_of(tmp_path))
        process.kill()
        process.wait()
        assert not is_being_written(lines_of(tmp_path))


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    folder = spool.attempt_folder(tmp_path, job_id="abc", attempt=1)
    folder.mkdir(parents=True)
    (folder / LINES).symlink_to("/dev/full")
    w = writer(tmp_path)
    w.begin(worker="w", spec={})
    with pytest.raises(OSError, match="No space left"):
        w.flush()
    w.close()


def test_what_a_full_disk_cut_short_is_written_once_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 30
    write = os.write

    def write_into_little(file: int, content: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(content[:room])
        room -= len(part)
        return write(file, part)

    with writer(tmp_path) as w:
        monkeypatch.setattr(os, "write", write_into_little)
        for step in (1, 2):
            w.points([(step, 1000, {"a": 1.0})])
            with pytest.raises(OSError, match="No space left on device.*lines.jsonl"):
                w.flush()
        assert list(read_lines(lines_of(tmp_path))) == []
        monkeypatch.undo()
        w.points([(3, 1000, {"a": 1.0})])
    # Were one left out, MLflow would never have it: it holds a later step by then.
    lines = list(read_lines(lines_of(tmp_path)))
    assert [line.content["points"][0][0] for line in lines] == [1, 2, 3]
    assert lines[-1].end == lines_of(tmp_path).stat().st_size


def test_many_points_make_lines_of_bounded_length(tmp_path: Path) -> None:
    with writer(tmp_path) as w:
        w.points([(step, 1000, {"a": 1.0}) for step in range(1, 1002)])
    lines = list(read_lines(lines_of(tmp_path)))
    assert sum(len(line.content["points"]) for line in lines) == 1001
    assert max(len(line.content["points"]) for line in lines) <= 200


def test_tensors_keep_their_values_and_leave_no_half_file(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3).t()
    with writer(tmp_path) as w:
        w.tensors("w.safetensors", {"weight": weight, "same": weight, "count": torch.tensor(3)})
        with pytest.raises(AttributeError):
            w.tensors("bad.safetensors", {"x": "no tensor"})  # type: ignore[dict-item]
    folder = lines_of(tmp_path).parent
    assert sorted(path.name for path in folder.iterdir()) == [LINES, "w.safetensors"]
    found = load_file(folder / "w.safetensors")
    assert torch.equal(found["weight"], weight)
    assert found["count"].item() == 3
    (line,) = read_lines(lines_of(tmp_path))
    assert line.content["name"] == "w.safetensors"


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with writer(tmp_path) as w, pytest.raises(ValueError, match="not JSON compliant"):
        w.points([(1, 1000, {"a": float("nan")})])


def test_jobs_passes_over_what_is_no_job(tmp_path: Path) -> None:
    for name in ("newer", "older", ".done-abc", ".lock"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / "older", (1, 1))
    assert [path.name for path in spool.jobs(tmp_path)] == ["older", "newer"]


def test_jobs_passes_over_what_is_delivered_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(folder: Path) -> "nullcontext[list[os.DirEntry[str]]]":
        with real(folder) as entries:
            found = list(entries)
        (tmp_path / "delivered").rmdir()
        return nullcontext(found)

    for name in ("delivered", "waiting"):
        (tmp_path / name).mkdir()
    real = os.scandir
    monkeypatch.setattr(os, "scandir", scan)
    assert [path.name for path in spool.jobs(tmp_path)] == ["waiting"]


def test_what_was_not_sent_is_given_again(tmp_path: Path) -> None:
    w = writer(tmp_path)
    w.begin(worker="w", spec={})
    w.points([(1, 1000, {"a": 1.0})])
    w.warning(kind="REDUCTION_SUM", field="loss", message="hm")
    w.flush()
    attempt = SpooledAttempt(tmp_path / "abc", 1)
    ((points, offset),) = attempt.unsent(0)
    assert points == [(1, 1000, {"a": 1.0})]
    # Sending failed: nothing is lost, and warnings are not told twice.
    assert list(attempt.unsent(0)) == [(points, offset)]
    assert attempt.warnings == ["REDUCTION_SUM: hm"]
    w.points([(2, 1001, {"a": 2.0})])
    w.close()
    ((later, _),) = attempt.unsent(offset)
    assert later == [(2, 1001, {"a": 2.0})]


def test_another_process_knows_what_an_earlier_one_has_sent(tmp_path: Path) -> None:
    with writer(tmp_path) as w:
        w.begin(worker="w", spec={"x": 1})
        w.points([(1, 1000, {"a": 1.0})])
        w.flush()
        sent = lines_of(tmp_path).stat().st_size
        w.points([(2, 1001, {"a": 2.0})])
        w.end(state="FAILED", cause="SERVICE", message="boom")
    attempt = SpooledAttempt(tmp_path / "abc", 1)
    ((points, offset),) = attempt.unsent(sent)
    assert points == [(2, 1001, {"a": 2.0})]
    assert attempt.begin is not None
    assert attempt.begin["spec"] == {"x": 1}
    assert attempt.final_state == "FAILED"
    assert attempt.is_idle(sent=offset)
    assert not attempt.is_idle(sent=sent)
    assert attempt.is_all_sent(sent=offset)
    assert not attempt.is_all_sent(sent=sent)


def test_a_torn_tail_does_not_count_as_unsent(tmp_path: Path) -> None:
    with writer(tmp_path) as w:
        w.begin(worker="w", spec={})
    with lines_of(tmp_path).open("ab") as file:
        file.write(b'{"kind":"met')
    attempt = SpooledAttempt(tmp_path / "abc", 1)
    ((_, offset),) = attempt.unsent(0)
    assert attempt.is_all_sent(sent=offset)
    with lines_of(tmp_path).open("ab") as file:
        file.write(b'rics","points":[]}\n')
    assert not attempt.is_all_sent(sent=offset)


def test_what_a_job_computed_stands_in_its_spool(tmp_path: Path) -> None:
    found = {"train.class_counts": "[7, 3]"}
    with writer(tmp_path) as w:
        JobReporter(JobSpec(), w).computed(found)
    (line,) = read_lines(lines_of(tmp_path))
    assert (line.kind, line.content["params"]) == ("computed", found)


def test_points_of_attempts_that_go_on_are_one_curve(tmp_path: Path) -> None:
    # The second begins anew at step 1, the third goes on from a checkpoint of step 12.
    for number, steps in ((1, range(1, 8)), (2, range(1, 16)), (3, range(13, 21))):
        with SpoolWriter(tmp_path, job_id="abc", attempt=number) as writer:
            writer.points([(step, number, {"train/loss": float(number)}) for step in steps])
    points = list(SpooledAttempt(tmp_path / "abc", 3).points())
    assert [step for step, _, _ in points] == list(range(1, 21))
    assert [number for _, number, _ in points] == [2] * 12 + [3] * 8
    early = [step for step, _, _ in SpooledAttempt(tmp_path / "abc", 1).points()]
    assert early == list(range(1, 8))
