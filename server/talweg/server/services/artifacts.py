"""The files of jobs: listed, and sent from the blob store.

The store is read in threads of this service, one chunk at a time, and the next one is read once
the caller has taken the last: a slow reader costs a chunk of memory and an open file.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from sqlalchemy import Connection

from talweg.blobs import (
    PICTURES,
    Blobs,
    DamagedListError,
    StoredArtifact,
    StoredArtifacts,
    is_of_one_file,
    job_blobs,
    read_artifacts,
)
from talweg.server.concurrency.fair_executor import FairExecutor
from talweg.server.errors import (
    ArtifactNotFound,
    ArtifactNotReady,
    BlobsUnavailable,
    InvalidRequest,
    JobNotFound,
    OffsetBehindEnd,
)
from talweg.server.queries import pages
from talweg.server.services.arguments import count, job_of
from talweg.server.store import jobs, removals
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import JobRow
from talweg.spec import is_blob_path
from talweg.v1.jobs_pb2 import Job

MAX_PAGE = 1000
_DEFAULT_PAGE = 100
CHUNK_BYTES = 1024 * 1024
_THREADS = 8
_MOST_NAMED = 12
# Folders whose files follow from an output that the job's spec asks for.
_MODEL, _PLOTS = "model", "plots"
_JOBS = "jobs"
DESCRIPTION = "model/model.json"
"""What every model has."""

Read = Callable[[int, int], bytes]
"""Reads so many bytes from an offset on."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArtifactPage:
    """Part of the list of a job's files."""

    files: Sequence[StoredArtifact]
    """By path."""

    next_token: str
    """Where the list goes on; empty at its end."""

    complete: bool
    """Whether no more files will come."""


@dataclass(frozen=True)
class Chunk:
    """Some bytes of a file."""

    offset: int
    """Where they stand in it."""

    data: bytes
    """The bytes."""

    num_bytes: int
    """The file's size."""

    sha256: str = ""
    """The file's, with its last bytes alone."""


class ArtifactService:
    """Reads what workers have written."""

    def __init__(self, database: Database, blobs: str) -> None:
        """Touch no file yet.

        Args:
            database: The record.
            blobs: The blob store's folder or URL.
        """
        self._database = database
        self._url = blobs
        self._threads = FairExecutor(_THREADS, name="artifacts")

    def close(self) -> None:
        """Wait for what is being read."""
        self._threads.close()

    async def list_page(
        self, name: str, *, path: str, page_size: int, page_token: str, caller: str
    ) -> ArtifactPage:
        """List files by path.

        Args:
            name: `jobs/{id}`.
            path: A file, or a folder; all where empty.
            page_size: At most so many.
            page_token: From the page before; empty for the first.
            caller: Who asks; equal texts are one caller.

        Raises:
            JobNotFound: There is no such job.
            ArtifactNotFound: The list of its files is damaged.
            InvalidRequest: The job's name, the path or the page size is none.
            BadPageToken: The token is of other arguments, or none that this service gave.
            BlobsUnavailable: The blob store does not answer.
        """
        size = count(page_size, field="page_size", most=MAX_PAGE, default=_DEFAULT_PAGE)
        folder = path.rstrip("/")
        if folder:
            _check_path(folder)
        arguments = (name, folder)
        after = str(pages.decode(page_token, arguments, (str,))[0]) if page_token else ""
        row = await self._job(name)
        stored = await self._threads.run(caller, self._stored, row)
        wanted = [
            each
            for each in stored.files
            if each.path > after
            and (not folder or each.path == folder or each.path.startswith(f"{folder}/"))
        ]
        token = pages.encode([wanted[size - 1].path], arguments) if len(wanted) > size else ""
        return ArtifactPage(wanted[:size], token, _is_complete(row, stored))

    async def job_with_model(self, name: str, *, caller: str) -> JobRow:
        """Return the record of a job that has left a model.

        Args:
            name: `jobs/{id}`.
            caller: Who asks; equal texts are one caller.

        Raises:
            JobNotFound: There is no such job.
            ArtifactNotFound: It has left no model, or its files cannot be read.
            ArtifactNotReady: The model is not there yet, or was not asked for.
            InvalidRequest: The job's name is none.
            BlobsUnavailable: The blob store does not answer.
        """
        row = await self._job(name)
        stored = await self._threads.run(caller, self._stored, row)
        if not any(each.path == DESCRIPTION for each in stored.files):
            raise _missing(row, DESCRIPTION, stored)
        return row

    async def download(
        self, name: str, path: str, *, offset: int, caller: str
    ) -> AsyncGenerator[Chunk]:
        """Yield a file's bytes from an offset on; where there are none left, one empty chunk.

        Args:
            name: `jobs/{id}`.
            path: The file's, as listed.
            offset: From which byte on.
            caller: Who asks; equal texts are one caller.

        Raises:
            JobNotFound: There is no such job.
            ArtifactNotFound: It has left no such file, or that cannot be read.
            ArtifactNotReady: The file is not there yet, or was not asked for.
            OffsetBehindEnd: The file is shorter.
            InvalidRequest: The job's name or the path is none.
            BlobsUnavailable: The blob store does not answer.
        """
        _check_path(path)
        row = await self._job(name)
        stored = await self._threads.run(caller, self._stored, row)
        file = next((each for each in stored.files if each.path == path), None)
        if file is None:
            raise _missing(row, path, stored)
        if offset > file.num_bytes:
            raise OffsetBehindEnd(
                f"offset must be <= {file.num_bytes}, the size of {path} in bytes, but got "
                f"{offset}: download it from 0",
                metadata={"num_bytes": str(file.num_bytes)},
            )
        with ExitStack() as opened:
            read = await self._threads.run(caller, self._open, opened, row, file)
            while True:
                data = await self._threads.run(caller, _read, read, offset, row, file)
                is_last = offset + len(data) == file.num_bytes
                yield Chunk(offset, data, file.num_bytes, file.sha256 if is_last else "")
                if is_last:
                    return
                offset += len(data)

    async def _job(self, name: str) -> JobRow:
        id_ = job_of(name, field="job")
        return await self._database.reading(_job, id_)

    # In threads.

    def _blobs(self, row: JobRow) -> Blobs:
        try:
            return job_blobs(self._url, row.project)
        except (OSError, ImportError, ValueError) as exc:
            raise _unavailable(exc) from exc

    def _stored(self, row: JobRow) -> StoredArtifacts:
        blobs = self._blobs(row)
        try:
            try:
                return read_artifacts(blobs, row.name, last=row.attempt)
            except OSError as exc:
                if not is_of_one_file(exc):
                    raise
                # Raises where it is the store that is away.
                blobs.names(_JOBS)
                raise _unlisted(row, exc) from exc
        except DamagedListError as exc:
            raise _unlisted(row, exc) from exc
        except OSError as exc:
            raise _unavailable(exc) from exc

    def _open(self, opened: ExitStack, row: JobRow, file: StoredArtifact) -> Read:
        try:
            return opened.enter_context(self._blobs(row).reading(file.blob))
        except OSError as exc:
            raise _failed(exc, row, file) from exc


def _job(connection: Connection, id_: str) -> JobRow:
    try:
        return jobs.get(connection, id_)
    except JobNotFound as exc:
        if removals.is_pending(connection, id_):
            note = "it was deleted, and its files are being removed"
            raise JobNotFound(f"jobs/{id_}", note=note) from exc
        raise


def _check_path(path: str) -> None:
    if not is_blob_path(path):
        raise InvalidRequest.of(
            "path",
            "must be names of letters, digits, '.', '-' and '_', joined by '/', none beginning "
            f"with '.', as ListArtifacts gives them, but got {path[:200]!a}",
        )


def _is_complete(row: JobRow, stored: StoredArtifacts) -> bool:
    if not row.ended:
        return False
    outputs = row.job_spec.outputs
    is_due = row.state == Job.SUCCEEDED and (outputs.model or outputs.plots)
    if is_due and row.attempt not in stored.attempts:
        return False
    return not stored.awaits


def _missing(
    row: JobRow, path: str, stored: StoredArtifacts
) -> ArtifactNotReady | ArtifactNotFound:
    """Return why a job has no such file, and what to do."""
    state = Job.State.Name(row.state)  # type: ignore[arg-type]
    facts = {"job": row.name, "state": state}
    if not row.ended:
        return ArtifactNotReady(
            f"{row.name} is {state}, and {path} is not there: the files of a job are there once "
            f"it has ended. Wait for it with `talweg watch {row.id}`",
            metadata=facts,
        )
    outputs, folder = row.job_spec.outputs, path.partition("/")[0]
    for name, is_asked in ((_MODEL, outputs.model), (_PLOTS, outputs.plots)):
        if folder == name and not is_asked:
            return ArtifactNotReady(
                f"{row.name} has no {path}, since its outputs.{name} is false: submit it again "
                f"with outputs.{name}=true",
                metadata=facts,
            )
    if folder == _MODEL and row.state != Job.SUCCEEDED:
        return ArtifactNotReady(
            f"{row.name} has no {path}: it ended as {state}, and only a job that ends as "
            f"SUCCEEDED leaves a model. `talweg show {row.id}` says why it did not",
            metadata=facts,
        )
    if not _is_complete(row, stored) and (folder == _PLOTS or not stored.files):
        what = "its plots are being drawn" if PICTURES in stored.awaits else "its files are coming"
        return ArtifactNotReady(
            f"{path} of {row.name} is not there yet: {what}. Try again in a few seconds; if it "
            "stays away, see the log of the worker's delivery",
            metadata=facts,
        )
    names = [each.path for each in stored.files]
    some = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    has = f"its files are {some}" if names else "it has left none"
    return ArtifactNotFound(f"{row.name} has no file {path}: {has}", metadata=facts)


def _read(read: Read, offset: int, row: JobRow, file: StoredArtifact) -> bytes:
    length = min(CHUNK_BYTES, file.num_bytes - offset)
    try:
        data = read(offset, length) if length else b""
    except OSError as exc:
        raise _failed(exc, row, file) from exc
    if len(data) < length:
        raise _gone(row, file)
    return data


def _failed(
    error: OSError, row: JobRow, file: StoredArtifact
) -> ArtifactNotFound | BlobsUnavailable:
    """Return what an error of a file means: no waiting brings it back where others are read."""
    if isinstance(error, FileNotFoundError):
        return _gone(row, file)
    if not is_of_one_file(error):
        return _unavailable(error)
    log.error("%s cannot be read: %s", file.blob, error)
    return ArtifactNotFound(
        f"{file.path} of {row.name} is listed, but its file in the blob store cannot be read; the "
        "server's log has the reason. Look in the job's run in MLflow, or submit it again",
        metadata={"job": row.name},
    )


def _unlisted(row: JobRow, error: Exception) -> ArtifactNotFound:
    log.error("the list of the files of %s cannot be read: %s", row.name, error)
    return ArtifactNotFound(
        f"the list of the files of {row.name} in the blob store is damaged; the server's log has "
        "the reason. Look in the job's run in MLflow, or submit it again",
        metadata={"job": row.name},
    )


def _gone(row: JobRow, file: StoredArtifact) -> ArtifactNotFound:
    return ArtifactNotFound(
        f"{file.path} of {row.name} is listed, but its bytes are not in the blob store, or not "
        "all: somebody has removed them. Look in the job's run in MLflow, or submit it again",
        metadata={"job": row.name},
    )


def _unavailable(error: Exception) -> BlobsUnavailable:
    # Its text may hold paths and credentials.
    log.error("the blob store cannot be read: %s", error)
    return BlobsUnavailable(
        "the blob store cannot be read: check TALWEG_BLOBS of the server, which must be the "
        "workers' store; the server's log has the reason"
    )
