"""The spool: what a training process leaves on disk for the delivery process.

A spool is one machine's; its `.id` tells it from others. It holds a folder an attempt,
`{spool}/{job id}/{attempt}/`, written by the training process alone:

- `lines.jsonl`, append-only: one JSON object a line, `kind` says what it holds. Times are taken
  when a thing happens and never again, so that what is sent twice is the same to the byte.
- files for tensors and documents, written aside and renamed, then named by a line.

A line counts once its newline is there: a process killed in mid-write leaves a torn tail, which
readers pass over.

The writer holds a shared lock (flock) on `lines.jsonl` as long as it lives. A file without an end
line that nobody has locked is therefore whole: its writer was killed.

| kind | holds |
|---|---|
| begin | format, job, attempt, worker, time, spec |
| data | name, digest and shape of the data |
| computed | params: {name: text}, of what was computed from the data |
| metrics | points: [step, time, {name: value}] each |
| warning | kind, field, message |
| file | name of a file that is complete |
| end | state (or LOST), cause, message, steps, time; nothing follows |

All times are milliseconds since the epoch.
"""

import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from talweg.spec import is_job_id
from talweg.spec.private import make_private_folder

if TYPE_CHECKING:
    import torch

FORMAT = 1
LINES = "lines.jsonl"
_ID = ".id"
_MAX_ID_CHARS = 100

# Files an attempt may hold.
WEIGHTS = "weights.safetensors"
"""The model's parameters and buffers, by their names in the module."""
MODEL = "model.json"
"""What the model is built from again; see `talweg.worker.models.saved`."""
EXAMPLE = "example.safetensors"
"""`x`: a few inputs as they come from the data, before standardisation."""
PREDICTIONS = "predictions.safetensors"
"""What the task's plots of the test part are drawn from, such as `y_true` and `y_pred`."""
DIVERGENCE = "divergence.json"
"""What the guard saw where the job diverged, in the JSON form of its message."""

REPLAY = "replay.json"
"""What a replay has shown, in the JSON form of its message."""
RATE_RANGE, GRADIENT_FLOW, LOSS_LANDSCAPE = "rate_range", "gradient_flow", "loss_landscape"
"""Diagnoses that leave a table; its file is `table_file` of the name."""
REPLAY_TABLES = ("replay_rows", "replay_layers", "replay_steps")
"""Tables that a replay leaves."""

LOST = "LOST"
"""The state of an attempt that ended without a say in how its job ends."""

_POINTS_A_LINE = 200
_READ_SIZE = 1 << 20

Point = tuple[int, int, Mapping[str, float]]
"""Step, time, values by name."""


def table_file(name: str) -> str:
    """Return the file of what a diagnosis found: JSON, columns and facts."""
    return f"{name}.json"


def spool_id(spool: Path) -> str:
    """Return the id by which a spool is told from those of other machines; made at the first call.

    It lives and dies with the spool: a machine whose disk was lost begins another.

    Args:
        spool: The spool's folder.

    Returns:
        The id; empty where it can be neither read nor written.
    """
    file = spool / _ID
    with suppress(OSError):
        if not file.exists():
            fresh = file.with_name(f"{_ID}-{uuid.uuid4().hex}")
            fresh.write_text(uuid.uuid4().hex)
            try:
                # Not a rename, by which two processes would each have one of their own.
                os.link(fresh, file)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return file.read_text().strip()[:_MAX_ID_CHARS]
    return ""


def now_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class SpoolWriter:
    """Writes one attempt's folder. A context manager; usable from several threads.

    Lines are kept in memory until `flush`: a job writes to disk about once a second.
    """

    def __init__(self, spool: Path, *, job_id: str, attempt: int) -> None:
        """Make the attempt's folder.

        Args:
            spool: The spool's folder.
            job_id: Without `jobs/`.
            attempt: From 1.
        """
        self.folder = attempt_folder(spool, job_id=job_id, attempt=attempt)
        make_private_folder(spool)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files: set[str] = set()
        """The files that are complete."""
        self._lock = threading.Lock()
        self._buffer: list[str] = []
        # What a full disk has not taken yet, from within a line perhaps.
        self._unwritten = bytearray()
        self._has_failed = False
        self._file = os.open(
            self.folder / LINES, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        fcntl.flock(self._file, fcntl.LOCK_SH)
        self._job_id, self._attempt = job_id, attempt

    def begin(
        self,
        *,
        worker: str,
        spec: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        project: str = "",
    ) -> None:
        """Write the first line.

        Args:
            worker: The worker's name.
            spec: The job's spec in its JSON form.
            environment: Versions and device, by name.
            project: The job's.
        """
        self._add(
            kind="begin", format=FORMAT, job=self._job_id, attempt=self._attempt,
            worker=worker, time=now_ms(), spec=spec, environment=environment or {},
            project=project,
        )  # fmt: skip

    def data(self, **facts: Any) -> None:
        """Write the data set: `name`, `digest` and what else describes it."""
        self._add(kind="data", **facts)

    def computed(self, params: Mapping[str, str]) -> None:
        """Write parameters that were computed from the data, by name."""
        self._add(kind="computed", params=params)

    def points(self, points: Sequence[Point]) -> None:
        """Write metric points in the order of their steps; finite values only."""
        for start in range(0, len(points), _POINTS_A_LINE):
            self._add(kind="metrics", points=points[start : start + _POINTS_A_LINE])

    def warning(self, *, kind: str, field: str, message: str) -> None:
        """Write a warning of something that is allowed, and is probably not meant."""
        self._add(kind="warning", **{"warning": kind, "field": field, "message": message})

    def tensors(self, name: str, tensors: Mapping[str, "torch.Tensor"]) -> None:
        """Write a safetensors file.

        Args:
            name: Its name in the folder.
            tensors: Any shapes, types and devices.
        """
        # The delivery, which reads what is written here, never loads torch by it.
        from safetensors.torch import save_file  # noqa: PLC0415

        plain = {key: t.detach().cpu().contiguous().clone() for key, t in tensors.items()}
        with _written_aside(self.folder / name) as part:
            save_file(plain, part)
        self._name(name)

    def document(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file.

        Args:
            name: Its name in the folder.
            content: JSON values.
        """
        write_json(self.folder / name, content)
        self._name(name)

    def end(self, *, state: str, cause: str = "", message: str = "") -> None:
        """Write the last line, at once.

        Args:
            state: A job's state by name, or LOST.
            cause: An outcome's cause by name.
            message: An outcome's message.
        """
        self._add(kind="end", state=state, cause=cause, message=message, time=now_ms())
        self.flush()

    def flush(self) -> None:
        """Write the lines that wait.

        What cannot be written waits for the next call, which goes on where this one ended. A line
        that is left out would never be told: MLflow takes nothing behind a metric's last step.

        Raises:
            OSError: The disk is full or gone.
        """
        with self._lock:
            self._unwritten += "".join(self._buffer).encode()
            self._buffer.clear()
            try:
                while self._unwritten:
                    del self._unwritten[: os.write(self._file, self._unwritten)]
            except OSError as exc:
                self._has_failed = True
                raise OSError(exc.errno, exc.strerror, str(self.folder / LINES)) from exc
            self._has_failed = False

    def close(self) -> None:
        """Write the lines that wait and close the file.

        Raises:
            OSError: They cannot be written, and no `flush` has said so.
        """
        was_told = self._has_failed
        try:
            self.flush()
        except OSError:
            if not was_told:
                raise
        finally:
            os.close(self._file)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _name(self, file: str) -> None:
        self.files.add(file)
        self._add(kind="file", name=file)

    def _add(self, **content: Any) -> None:
        line = json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n"
        with self._lock:
            self._buffer.append(line)


@dataclass(frozen=True)
class Line:
    """One line of a spool."""

    kind: str
    """What it holds; see the module."""
    content: Mapping[str, Any]
    """The whole object."""
    end: int
    """Offset of the first byte after it."""


def read_lines(path: Path, *, start: int = 0) -> Iterator[Line]:
    """Return the complete lines from an offset on.

    A torn tail is left for later; a complete line that is no JSON object is passed over.

    Args:
        path: A `lines.jsonl`; one that does not exist has no lines.
        start: The `end` of the last line read before, or 0.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        end, tail = start, b""
        while chunk := file.read(_READ_SIZE):
            *lines, tail = (tail + chunk).split(b"\n")
            for line in lines:
                end += len(line) + 1
                try:
                    content = json.loads(line)
                except ValueError:
                    continue
                if isinstance(content, dict) and isinstance(content.get("kind"), str):
                    yield Line(kind=content["kind"], content=content, end=end)


def is_being_written(path: Path) -> bool:
    """Return whether the process that writes a `lines.jsonl` lives, if only frozen."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def attempt_folder(spool: Path, *, job_id: str, attempt: int) -> Path:
    """Return where an attempt's results wait."""
    return spool / job_id / str(attempt)


def jobs(spool: Path) -> Iterator[Path]:
    """Return the folders of the jobs in a spool, the longest untouched first."""
    folders = []
    with os.scandir(spool) as entries:
        for entry in entries:
            # Meanwhile threads of the delivery remove what they have delivered.
            with suppress(FileNotFoundError):
                if is_job_id(entry.name) and entry.is_dir():
                    folders.append((entry.stat().st_mtime, entry.path))
    for _, path in sorted(folders):
        yield Path(path)


def attempts(job_folder: Path) -> list[int]:
    """Return the attempts of a job that have left something, in order."""
    return sorted(int(entry.name) for entry in os.scandir(job_folder) if entry.name.isdecimal())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    with _written_aside(path) as part:
        part.write_text(json.dumps(content, allow_nan=False) + "\n")


@contextmanager
def _written_aside(path: Path) -> Iterator[Path]:
    """Return a path to write to, and rename it into place unless writing failed."""
    # Always the same, in a folder that is the worker's alone: what a kill leaves is written over.
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
