"""What a job gives once it has ended: its files, its model, predictions."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from talweg.client import _artifacts
from talweg.client._artifacts import Artifact
from talweg.client._errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from talweg.client._connection import Connection
    from talweg.v1 import jobs_pb2

_POLL_SECONDS = 0.5
_PLOTS = "plots"


class JobFiles:
    """The part of a job's handle that is about its files."""

    _connection: "Connection"
    _message: "jobs_pb2.Job"

    def _named(self) -> str:
        raise NotImplementedError

    def artifacts(self, path: str = "") -> list[Artifact]:
        """Return the files that the job has left so far, by path.

        They are there until the job is deleted. Model, tables, logs and evidence are there once
        the job has ended; its plots follow within seconds.

        Args:
            path: A file, or a folder such as ``plots``; all if empty.

        Raises:
            NotFound: There is no such job.
            TalwegError: Another error of the server.
        """
        files, _ = _artifacts.listed(self._connection, self._named(), path)
        return files

    def download(
        self,
        path: str = "",
        to: str | os.PathLike[str] = ".",
        *,
        patience: timedelta | float = 30.0,
        progress: Callable[[Artifact, int], None] | None = None,
    ) -> list[Path]:
        """Download files of the job, and return where they are.

        A file that is there already is not sent again, and a download that broke off goes on.
        Each file appears once its checksum is right. Nothing is written outside the folder.

        Args:
            path: A file, or a folder such as ``plots``; all if empty.
            to: The folder into which they go, under their paths.
            patience: How long to wait for plots that are still being drawn: a timedelta, or
                seconds.
            progress: Called with a file and how many of its bytes have arrived.

        Raises:
            FailedPrecondition: The job has not ended, or its outputs do not ask for the file.
            NotFound: The job has left no such file.
            ServerError: The bytes are not those that the server lists.
            TalwegError: Another error of the server.
            OSError: A file cannot be written.
        """
        files, _ = self._files(path, patience)
        return [
            _artifacts.download(
                self._connection,
                self._named(),
                file,
                Path(to),
                progress=progress or (lambda file, num_bytes: None),
            )
            for file in files
        ]

    def _files(self, path: str, patience: timedelta | float) -> tuple[list[Artifact], bool]:
        """Return the files to download, and whether no more will come; wait for plots a little.

        Raises:
            FailedPrecondition: There are none yet, or none were asked for.
            NotFound: There are none.
        """
        seconds = patience.total_seconds() if isinstance(patience, timedelta) else patience
        until = time.monotonic() + seconds
        name, path = self._named(), path.rstrip("/")
        files, complete = _artifacts.listed(self._connection, name, path)
        # Only an ended job has plots to wait for.
        if not complete and self._may_come(path, files) and self._has_ended():
            while not complete and time.monotonic() < until:
                time.sleep(min(_POLL_SECONDS, max(0.0, until - time.monotonic())))
                files, complete = _artifacts.listed(self._connection, name, path)
        if files:
            return files, complete
        if path:
            _artifacts.ask_for(self._connection, name, path)
            return _artifacts.listed(self._connection, name, path)
        if complete:
            raise NotFound(
                f"{name} has left no files: its outputs ask for none. Submit it again with "
                "outputs.model=true or outputs.plots=true",
                reason="ARTIFACT_NOT_FOUND",
            )
        raise FailedPrecondition(
            f"{name} has left no files yet: they are there once it has ended",
            reason="ARTIFACT_NOT_READY",
        )

    @staticmethod
    def _may_come(path: str, files: list[Artifact]) -> bool:
        """Return whether waiting may bring what is wanted."""
        return not path or not files or path.partition("/")[0] == _PLOTS

    def _has_ended(self) -> bool:
        from talweg.v1 import jobs_pb2

        if not self._message.HasField("outcome"):
            request = jobs_pb2.GetJobRequest(name=self._named())
            return self._connection.call(self._connection.jobs.GetJob, request).HasField("outcome")
        return True
