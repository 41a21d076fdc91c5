"""The data folder of a stack: what lies where, and whose it is."""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from filelock import FileLock, Timeout

from talweg.deploy.errors import FolderInUseError
from talweg.spec.stackfile import STACK_FILE

# Logs of so many starts are kept beside the present one.
KEPT_LOGS = 3
# A log that grows beyond this is moved aside while its service runs, in bytes.
LARGEST_LOG = 50_000_000


@dataclass(frozen=True)
class Folder:
    """The paths under a data folder."""

    root: Path
    """Absolute."""

    @property
    def stack_file(self) -> Path:
        """Addresses and process ids of the running stack."""
        return self.root / STACK_FILE

    @property
    def database(self) -> Path:
        """The record."""
        return self.root / "talweg.db"

    @property
    def spool(self) -> Path:
        """Results on their way to MLflow."""
        return self.root / "spool"

    @property
    def blobs(self) -> Path:
        """Checkpoints."""
        return self.root / "blobs"

    @property
    def broker(self) -> Path:
        """The broker's configuration; it keeps no data."""
        return self.root / "broker"

    @property
    def broker_password(self) -> Path:
        """The broker's password, for the owner's eyes alone."""
        return self.root / "broker-password"

    @property
    def tracking(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / "mlflow"

    @property
    def logs(self) -> Path:
        """One log a service."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Ready files: who serves now."""
        return self.root / "run"

    @property
    def lock(self) -> Path:
        """By it a stack has the folder."""
        return self.root / "lock"

    def ready_file(self, service: str) -> Path:
        """Return the file by which a service says that it is ready."""
        return self.run / f"{service}.json"

    def log_file(self, service: str) -> Path:
        """Return where a service's output goes."""
        return self.logs / f"{service}.log"

    def create(self) -> None:
        """Make the folders that are not there yet, readable by the owner alone.

        A folder that was there before is closed to others too if it was empty or a stack's.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.lock.exists() or not any(self.root.iterdir()):
            self.root.chmod(0o700)
        for path in (
            self.spool,
            self.blobs,
            self.broker,
            self.tracking,
            self.logs,
            self.run,
        ):
            path.mkdir(mode=0o700, exist_ok=True)

    def open_log(self, service: str) -> IO[bytes]:
        """Open a service's log to append to."""
        return self.log_file(service).open("ab")

    def rotate_logs(self) -> None:
        """Move the logs of the start before aside: server.log becomes server.log.1, and so on."""
        for log in self.logs.glob("*.log"):
            for number in range(KEPT_LOGS, 0, -1):
                older = log.with_name(f"{log.name}.{number}")
                newer = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
                if newer.exists():
                    newer.replace(older)

    def shorten_logs(self) -> None:
        """Copy a log that has grown too large aside and empty it.

        Where there is no room for the copy it is given up: what is freed by it the stack needs.
        """
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LARGEST_LOG:
                older = log.with_name(f"{log.name}.1")
                try:
                    shutil.copyfile(log, older)
                except OSError:
                    older.unlink(missing_ok=True)
                # The service goes on writing: its file is open for appending.
                os.truncate(log, 0)

    def end_of_log(self, service: str, *, num_lines: int) -> str:
        """Return the last lines of a service's log."""
        with contextlib.suppress(FileNotFoundError):
            with self.log_file(service).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 20_000))
                text = log.read().decode(errors="replace")
            return "\n".join(text.splitlines()[-num_lines:])
        return ""


class FolderLock:
    """Holds a data folder for one `talweg up`; the system frees it when the process ends."""

    def __init__(self, folder: Folder) -> None:
        """Lock nothing yet."""
        self._lock = FileLock(folder.lock)
        self._holder = folder.root / "up.pid"
        self._root = folder.root

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            FolderInUseError: Another process has it; the message says which.
        """
        try:
            self._lock.acquire(blocking=False)
        except Timeout as exc:
            holder = "another process"
            with contextlib.suppress(FileNotFoundError):
                holder = f"process {self._holder.read_text().strip()}"
            raise FolderInUseError(
                f"{self._root} is in use by {holder} (talweg up); stop that one first, or choose "
                "another folder with --data"
            ) from exc
        self._holder.write_text(f"{os.getpid()}\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Frees the folder."""
        self._holder.unlink(missing_ok=True)
        self._lock.release()
