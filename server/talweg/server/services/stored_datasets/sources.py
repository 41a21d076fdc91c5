"""Data that the server reads by URIs: fetched, read and stored as uploads are, on first use."""

import asyncio
import hashlib
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from talweg.server.errors import InvalidRequest, UnreadableData
from talweg.server.services.stored_datasets.fetching import Fetcher, FoundFile
from talweg.server.services.stored_datasets.header import UploadPlan, plan_of
from talweg.server.services.stored_datasets.staging import Staging
from talweg.server.services.stored_datasets.upload import UploadService
from talweg.server.store import source_files
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import StoredDatasetRow
from talweg.server.store.record.scope import current_project
from talweg.server.store.source_files import SourceFile
from talweg.spec import SpecError, Violation
from talweg.spec.stored import is_dataset_name
from talweg.spec.stored.uris import BadUriError, DataUri, parse_uri, root_of
from talweg.v1.datasets_pb2 import ReadOptions, UriData
from talweg.v1.stored_datasets_pb2 import UploadHeader

_AT = "dataset.uri"
_ODD_CHARS = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_STEM, _MARK_CHARS = 80, 6
# A file that was written in the same tick of its clock may be written again without a trace.
_SETTLED_S = 2.0
_ANY_SHA256 = "0" * 64


@dataclass
class _Reading:
    """A file that is being read, and how many wait for it."""

    task: asyncio.Task[StoredDatasetRow]
    num_waiting: int = 0


@dataclass(frozen=True)
class _Wanted:
    uri: DataUri
    root: DataUri
    name: str
    options: ReadOptions = field(compare=False)
    # The options in a form that can be compared.
    how: bytes = b""
    # As the file is: who comes once it has changed must not wait for what it was.
    fingerprint: str = ""
    # What two projects read becomes two data sets.
    project: str | None = None


class SourceService:
    """Stores what URIs name."""

    def __init__(
        self,
        database: Database,
        staging: Staging,
        fetcher: Fetcher,
        uploads: UploadService,
        *,
        roots: Sequence[DataUri],
        max_bytes: int,
    ) -> None:
        """Keep the parts.

        Args:
            database: The record.
            staging: Where copies go while they are read.
            fetcher: Looks at files and copies them.
            uploads: Stores them.
            roots: What files may lie below.
            max_bytes: The largest file that is taken.
        """
        self._database = database
        self._staging = staging
        self._fetcher = fetcher
        self._uploads = uploads
        self._roots = roots
        self._max_bytes = max_bytes
        self._running: dict[_Wanted, _Reading] = {}
        # Also those that nobody waits for any more, and that still remove what they have copied.
        self._tasks: set[asyncio.Task[StoredDatasetRow]] = set()

    async def close(self) -> None:
        """End what is being read, and wait until its copies are removed."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def stored(self, data: UriData) -> StoredDatasetRow:
        """Return the data set that a URI stands for now; the same bytes are read once.

        Args:
            data: As a spec names it.

        Raises:
            SpecError: The URI may not be read, or what is there cannot; carries all violations.
            DataTooLarge: Reading it takes too much memory or time.
            DiskFull: There is no room for it.
            BlobsUnavailable: The blob store cannot be written.
            DatabaseUnavailable: The record cannot be written.
        """
        wanted = self._wanted(data)
        try:
            found = await self._fetcher.look(wanted.uri, wanted.root)
            known = await self._known(wanted, found)
            if known is not None:
                return known
            return await self._read_once(replace(wanted, fingerprint=found.fingerprint), found)
        except BadUriError as exc:
            raise SpecError([exc.violation]) from exc
        except UnreadableData as exc:
            raise SpecError(_of_content(exc, wanted.uri)) from exc

    def _wanted(self, data: UriData) -> _Wanted:
        try:
            uri = parse_uri(data.uri)
            root = root_of(uri, self._roots)
        except BadUriError as exc:
            raise SpecError([exc.violation]) from exc
        how = data.read.SerializeToString(deterministic=True)
        name = data.name or default_name(uri)
        wanted = _Wanted(uri, root, name, data.read, how, project=current_project())
        # What is wrong with its name must not be found out once it was read.
        self._plan(wanted, _ANY_SHA256, 1, is_folder=False)
        return wanted

    async def _known(self, wanted: _Wanted, found: FoundFile) -> StoredDatasetRow | None:
        """Return the data set of a file that has not changed since it was read; None elsewhere."""
        before = await self._database.reading(source_files.find, str(wanted.uri))
        if before is None or before.fingerprint != found.fingerprint:
            return None
        plan = self._plan(wanted, before.sha256, before.num_bytes, is_folder=found.is_folder)
        return await self._uploads.known(plan)

    async def _read_once(self, wanted: _Wanted, found: FoundFile) -> StoredDatasetRow:
        """Read a file, or wait for another call that does, as long as anybody waits."""
        reading = self._running.get(wanted)
        if reading is None:
            reading = _Reading(asyncio.ensure_future(self._read(wanted, found.num_bytes)))
            self._running[wanted] = reading
            self._tasks.add(reading.task)
            reading.task.add_done_callback(self._tasks.discard)
        reading.num_waiting += 1
        try:
            return await asyncio.shield(reading.task)
        finally:
            reading.num_waiting -= 1
            if not reading.num_waiting:
                # Nobody may join what is about to be cancelled.
                self._running.pop(wanted, None)
                reading.task.cancel()

    async def _read(self, wanted: _Wanted, num_bytes: int) -> StoredDatasetRow:
        await self._staging.run(self._staging.check_room, num_bytes)
        folder = await self._staging.run(self._staging.work_folder)
        try:
            return await self._fetched(wanted, folder / "source")
        finally:
            await asyncio.shield(self._staging.run(shutil.rmtree, folder, ignore_errors=True))

    async def _fetched(self, wanted: _Wanted, target: Path) -> StoredDatasetRow:
        begun = time.time()
        found = await self._fetcher.copy(wanted.uri, wanted.root, target)
        plan = self._plan(wanted, found.sha256, found.num_bytes, is_folder=found.is_folder)
        row = await self._uploads.known(plan)
        if row is None:
            row, _ = await self._uploads.store(plan, target)
        if abs(begun - found.modified) > _SETTLED_S:
            await self._database.writing(source_files.remember, _as_it_was(wanted.uri, found))
        return row

    def _plan(
        self, wanted: _Wanted, sha256: str, num_bytes: int, *, is_folder: bool
    ) -> UploadPlan:
        """Plan the storing of a file.

        Raises:
            SpecError: Its name or its options are not in order.
        """
        header = UploadHeader(
            name=wanted.name,
            file_name=f"{wanted.uri.file_name}{'.tar' if is_folder else ''}",
            sha256=sha256,
            num_bytes=num_bytes,
            options=wanted.options,
        )
        try:
            plan = plan_of(header, max_bytes=self._max_bytes)
        except InvalidRequest as exc:
            raise SpecError(
                [
                    Violation.from_description(_spec_field(each.field), each.description)
                    for each in exc.fields
                ]
            ) from exc
        return replace(plan, source_uri=str(wanted.uri))


def default_name(uri: DataUri) -> str:
    """Return a name for what a URI stands for: the file's, with a mark of the URI.

    So files of one name in two folders, and what somebody has uploaded under that name, are never
    versions of one data set.
    """
    stem = uri.file_name.rpartition(".")[0] or uri.file_name
    stem = _ODD_CHARS.sub("-", stem).strip("-._")[:_MOST_STEM] or "data"
    mark = hashlib.sha256(str(uri).encode()).hexdigest()[:_MARK_CHARS]
    name = f"{stem}-{mark}"
    assert is_dataset_name(name)
    return name


def _as_it_was(uri: DataUri, found: FoundFile) -> SourceFile:
    return SourceFile(str(uri), found.fingerprint, found.sha256, found.num_bytes)


def _spec_field(field: str) -> str:
    """Return where what a header holds stands in a spec."""
    parts = {"header.name": f"{_AT}.name", "header.file_name": f"{_AT}.uri"}
    return parts.get(field, field.replace("header.options", f"{_AT}.read"))


def _of_content(error: UnreadableData, uri: DataUri) -> list[Violation]:
    """Name the file in each of the problems of its content."""
    return [
        Violation.from_description(
            f"{uri.file_name}: {each.field}" if each.field else uri.file_name, each.description
        )
        for each in error.fields
    ]
