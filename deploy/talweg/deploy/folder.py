"""The data folder of a stack: its paths and its lock."""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from filelock import FileLock, Timeout

from talweg.deploy.errors import FolderInUseError
from talweg.spec.local import data_folder
from talweg.spec.local.stackfile import STACK_FILE

# Logs of this many earlier starts are kept.
KEPT_LOGS = 3
# A larger log is moved aside while its service runs, in bytes.
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
        return self.root / data_folder.RECORD

    @property
    def spool(self) -> Path:
        """Results that wait for delivery to MLflow."""
        return self.root / data_folder.SPOOL

    @property
    def data_cache(self) -> Path:
        """Copies of stored data sets, where the blob store is elsewhere."""
        return self.root / "data"

    @property
    def blobs(self) -> Path:
        """Checkpoints and stored data sets."""
        return self.root / data_folder.BLOBS

    @property
    def uploads(self) -> Path:
        """Files that are being uploaded."""
        return self.root / data_folder.UPLOADS

    @property
    def broker(self) -> Path:
        """Configuration of the broker; it stores no data."""
        return self.root / "broker"

    @property
    def broker_password(self) -> Path:
        """The password of the broker, readable only by the owner."""
        return self.root / "broker-password"

    @property
    def token_key(self) -> Path:
        """The key of the server's hashes of tokens, readable only by the owner."""
        return self.root / data_folder.TOKEN_KEY

    @property
    def admin_token(self) -> Path:
        """The token of the owner's client, readable only by the owner."""
        return self.root / data_folder.ADMIN_TOKEN

    @property
    def worker_token(self) -> Path:
        """The token of the workers, readable only by the owner."""
        return self.root / data_folder.WORKER_TOKEN

    @property
    def tracking(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / data_folder.TRACKING

    @property
    def tracking_database(self) -> Path:
        """MLflow's SQLite file."""
        return self.tracking / "mlflow.db"

    @property
    def tracking_artifacts(self) -> Path:
        """The folder that MLflow serves files from."""
        return self.tracking / "artifacts"

    @property
    def tracking_token(self) -> Path:
        """The token that MLflow asks for, readable only by the owner."""
        return self.root / data_folder.TRACKING_TOKEN

    @property
    def logs(self) -> Path:
        """One log per service."""
        return self.root / data_folder.LOGS

    @property
    def run(self) -> Path:
        """Ready files of running services."""
        return self.root / "run"

    @property
    def lock(self) -> Path:
        """The lock of the running stack."""
        return self.root / "lock"

    def ready_file(self, service: str) -> Path:
        """Return the ready file of a service."""
        return self.run / f"{service}.json"

    def log_file(self, service: str) -> Path:
        """Return the log file of a service."""
        return self.logs / f"{service}.log"

    def create(self) -> None:
        """Create missing folders, readable only by the owner.

        An existing data folder is closed to others too if it was empty or belongs to a stack.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.lock.exists() or not any(self.root.iterdir()):
            self.root.chmod(0o700)
        for path in (
            self.spool,
            self.blobs,
            self.uploads,
            self.broker,
            self.tracking,
            self.logs,
            self.run,
        ):
            path.mkdir(mode=0o700, exist_ok=True)

    def open_log(self, service: str) -> IO[bytes]:
        """Open the log of a service for appending."""
        return self.log_file(service).open("ab")

    def rotate_logs(self) -> None:
        """Rotate the logs of the previous start: server.log becomes server.log.1, and so on."""
        for log in self.logs.glob("*.log"):
            for number in range(KEPT_LOGS, 0, -1):
                older = log.with_name(f"{log.name}.{number}")
                newer = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
                if newer.exists():
                    newer.replace(older)

    def shorten_logs(self) -> None:
        """Copy logs that are too large and truncate them.

        Without room for the copy, the log is truncated all the same: the stack needs the space.
        """
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LARGEST_LOG:
                older = log.with_name(f"{log.name}.1")
                try:
                    shutil.copyfile(log, older)
                except OSError:
                    older.unlink(missing_ok=True)
                # The service keeps writing: its file is open for appending.
                os.truncate(log, 0)

    def end_of_log(self, service: str, *, num_lines: int) -> str:
        """Return the last lines of the log of a service."""
        with contextlib.suppress(FileNotFoundError):
            with self.log_file(service).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 20_000))
                text = log.read().decode(errors="replace")
            return "\n".join(text.splitlines()[-num_lines:])
        return ""


class FolderLock:
    """Lock a data folder for one `talweg up`; the system frees it when the process ends."""

    def __init__(self, folder: Folder) -> None:
        """Lock nothing yet."""
        self._lock = FileLock(folder.lock)
        self._holder = folder.root / "up.pid"
        self._root = folder.root

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            FolderInUseError: Another process has the lock; the message says which.
        """
        try:
            self._lock.acquire(blocking=False)
        except Timeout as exc:
            holder = "another process"
            with contextlib.suppress(FileNotFoundError):
                holder = f"process {self._holder.read_text().strip()}"
            raise FolderInUseError(
                f"{self._root} is in use by {holder} (talweg up); stop it first, or choose "
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
        """Release the lock."""
        self._holder.unlink(missing_ok=True)
        self._lock.release()
