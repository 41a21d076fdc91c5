"""Takes files in: stages their bytes, has them read, and stores what they hold."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from talweg.server.errors import (
    DataTooLarge,
    FieldProblem,
    InvalidUpload,
    UnreadableData,
    UploadOutOfPlace,
)
from talweg.server.services.quotas import check_bytes
from talweg.server.services.stored_datasets.header import UploadPlan, plan_of
from talweg.server.services.stored_datasets.reading import Read, Reader
from talweg.server.services.stored_datasets.staging import StagedFile, Staging
from talweg.server.services.stored_datasets.storage import DatasetStorage
from talweg.server.services.stored_datasets.views import info_of, row_of
from talweg.server.store import stored_datasets
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import StoredDatasetRow
from talweg.server.store.record.scope import current_project
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.v1.stored_datasets_pb2 import (
    StoredDataset,
    UploadChunk,
    UploadHeader,
    UploadStoredDatasetRequest,
)

MAX_CHUNK_BYTES = 1 << 20
"""The largest chunk."""


class UploadService:
    """Takes data sets in."""

    def __init__(
        self,
        database: Database,
        staging: Staging,
        reader: Reader,
        storage: DatasetStorage,
        *,
        max_bytes: int,
    ) -> None:
        """Keep the parts.

        Args:
            database: The record.
            staging: Where files arrive.
            reader: Reads them.
            storage: Where their content goes.
            max_bytes: The largest file that is taken.
        """
        self._database = database
        self._staging = staging
        self._reader = reader
        self._storage = storage
        self._max_bytes = max_bytes

    async def offset(self, header: UploadHeader) -> int:
        """Return how many bytes of a file need not be sent.

        Args:
            header: What will be uploaded; its name does not matter.

        Raises:
            InvalidUpload: It is not in order.
            UploadTooLarge: The file is too large.
        """
        plan = plan_of(header, max_bytes=self._max_bytes)
        if await self._read_before(plan) is not None:
            return plan.num_bytes
        return min(plan.num_bytes, self._staging.offset(_staged_as(plan.sha256)))

    async def upload(
        self, requests: AsyncIterator[UploadStoredDatasetRequest]
    ) -> tuple[StoredDatasetRow, StoredDataset]:
        """Take a data set in.

        Args:
            requests: A header, then chunks.

        Returns:
            The data set's row, and its description. Where it was only checked, a row without name.

        Raises:
            InvalidUpload: The messages are not as agreed.
            UnreadableData: The file cannot be stored.
            UploadOutOfPlace: Bytes are missing; the upload can go on.
            UploadTooLarge: The file is too large.
            DataTooLarge: Reading it takes too much memory or time.
            DiskFull: There is no room for it.
            BlobsUnavailable: The blob store cannot be written.
            DatabaseUnavailable: The record cannot be written.
        """
        plan = plan_of(await _header(requests), max_bytes=self._max_bytes)
        known = await self.known(plan)
        if known is not None:
            return known, info_of(known)
        await self._check_quota(plan)
        chunks = _chunks(requests)
        first = await anext(chunks, None)
        with await self._staging.open(
            _staged_as(plan.sha256), plan.num_bytes, offset=None if first is None else first.offset
        ) as file:
            if first is not None:
                await _write_all(plan, file, first, chunks)
            _check_whole(plan, file)
            file.is_whole = True
            try:
                answer = await self.store(plan, file.path)
            except (UnreadableData, DataTooLarge):
                file.remove()
                raise
            if not plan.validate_only:
                file.remove()
            return answer

    async def known(self, plan: UploadPlan) -> StoredDatasetRow | None:
        """Store a file that was read in the same way before.

        Returns:
            Its row; None where it was not read, or what was stored of it is lost.

        Raises:
            DatabaseUnavailable: The record cannot be written.
        """
        row = await self._read_before(plan)
        if row is None:
            return None
        if plan.validate_only:
            return replace(row, name="")
        return await self._database.writing(_record_again, plan)

    async def _read_before(self, plan: UploadPlan) -> StoredDatasetRow | None:
        row = await self._database.reading(stored_datasets.read_before, plan.read_key)
        # Lost content comes back with the file: so jobs that miss it are told.
        return row if row is not None and await self._storage.is_whole(row) else None

    async def store(self, plan: UploadPlan, path: Path) -> tuple[StoredDatasetRow, StoredDataset]:
        """Read a file of this machine, and store what it holds.

        Args:
            plan: What is known of it.
            path: Where it lies; it stays there.

        Returns:
            The data set's row, and its description.

        Raises:
            UnreadableData: The file cannot be stored.
            DataTooLarge: Reading it takes too much memory or time.
            DiskFull: There is no room for it.
            BlobsUnavailable: The blob store cannot be written.
            DatabaseUnavailable: The record cannot be written.
        """
        # Also of what comes by its URI.
        await self._check_quota(plan)
        folder = await self._staging.run(self._staging.work_folder)
        try:
            source = folder / "source"
            # A name of its own: what happens to the staged file is no matter then.
            try:
                await self._staging.run(os.link, path, source)
            except OSError:
                source = path
            output = folder / "output"
            await self._staging.run(output.mkdir)
            read = await self._read(plan, source, output)
            read.info.source_uri = plan.source_uri
            row = row_of(plan.name, plan.read_key, read.info)
            if plan.validate_only:
                return row, read.info
            stored = await self._storage.store(row, read.description, read.data)
            return stored, read.info
        finally:
            await asyncio.shield(self._staging.run(shutil.rmtree, folder, ignore_errors=True))

    async def _check_quota(self, plan: UploadPlan) -> None:
        if not plan.validate_only:
            await self._database.reading(check_bytes, plan.num_bytes)

    async def _read(self, plan: UploadPlan, source: Path, output: Path) -> Read:
        return await self._reader.read(
            source,
            file_name=plan.file_name,
            sha256=plan.sha256,
            options=plan.options,
            folder=output,
        )


def _record_again(tx: Transaction, plan: UploadPlan) -> StoredDatasetRow | None:
    """Record content that was read before, if it was: perhaps under another name."""
    known = stored_datasets.read_before(tx.connection, plan.read_key)
    if known is None:
        return None
    # Another call may be about to delete it.
    if not stored_datasets.keep(tx, [f"datasets/{known.name}@{known.digest}"]):
        return None
    # It may have been deleted, and stored elsewhere, before that.
    known = stored_datasets.read_before(tx.connection, plan.read_key) or known
    info = info_of(known)
    info.file_name, info.source_uri = plan.file_name, plan.source_uri
    row = row_of(plan.name, plan.read_key, info)
    return stored_datasets.insert_version(tx, replace(row, stored_in=known.stored_in))


async def _header(requests: AsyncIterator[UploadStoredDatasetRequest]) -> UploadHeader:
    request = await anext(requests, None)
    if request is None or request.WhichOneof("part") != "header":
        raise InvalidUpload.of("header", "must be the first message of an upload")
    return request.header


async def _chunks(
    requests: AsyncIterator[UploadStoredDatasetRequest],
) -> AsyncIterator[UploadChunk]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidUpload(
                "chunk: must be in each message behind the header",
                fields=[FieldProblem("chunk", "must be in each message behind the header")],
            )
        yield request.chunk


async def _write_all(
    plan: UploadPlan, file: StagedFile, first: UploadChunk, others: AsyncIterator[UploadChunk]
) -> None:
    """Write chunks, each while the next one arrives."""
    _check_chunk(plan, first)
    writing = asyncio.ensure_future(file.add(first.offset, first.data))
    try:
        async for chunk in others:
            _check_chunk(plan, chunk)
            await writing
            writing = asyncio.ensure_future(file.add(chunk.offset, chunk.data))
        await writing
    finally:
        # Nothing may be written any more once the file is closed.
        await asyncio.wait([writing])
        if not writing.cancelled():
            writing.exception()


def _check_whole(plan: UploadPlan, file: StagedFile) -> None:
    if file.offset < plan.num_bytes:
        raise UploadOutOfPlace(
            f"{file.offset:,} of {plan.num_bytes:,} bytes have arrived: go on there",
            offset=file.offset,
        )
    digest = file.hexdigest()
    if digest != plan.sha256:
        file.remove()
        raise InvalidUpload.of(
            "header.sha256",
            f"must be the sha256 of the bytes that arrived, which is {digest}, but got "
            f"{plan.sha256}: the file has changed meanwhile, or was damaged on its way; upload it "
            "again",
        )


def _check_chunk(plan: UploadPlan, chunk: UploadChunk) -> None:
    size = len(chunk.data)
    if size > MAX_CHUNK_BYTES:
        raise InvalidUpload.of(
            "chunk.data", f"must have <= {MAX_CHUNK_BYTES:,} bytes, but has {size:,}"
        )
    if chunk.offset + size > plan.num_bytes:
        raise InvalidUpload.of(
            "chunk.data",
            f"must end within the {plan.num_bytes:,} bytes that the header tells of, but ends "
            f"at {chunk.offset + size:,}",
        )


def _staged_as(sha256: str) -> str:
    """Return the name under which a file arrives.

    The same bytes of two projects arrive apart: nobody learns that another project has begun to
    send them.
    """
    project = current_project()
    if project in (None, DEFAULT_PROJECT):
        return sha256
    return hashlib.sha256(f"{project}/{sha256}".encode()).hexdigest()
