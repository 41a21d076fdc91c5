"""The content of stored data sets in the blob store."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from talweg.blobs import Blobs, project_blobs
from talweg.server.errors import BadSetting, BlobsUnavailable, DatabaseUnavailable
from talweg.server.queueing.outage import Outage
from talweg.server.services.stored_datasets.views import info_of
from talweg.server.store import stored_datasets
from talweg.server.store.record.clock import SECOND
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import StoredDatasetRow
from talweg.server.store.record.scope import current_project
from talweg.server.store.stored_datasets import Content
from talweg.spec.local.room import is_full

log = logging.getLogger(__name__)

_INFO = "info.json"
_PERIOD_S = 60.0
_LIMIT = 100
# Content that has been written for so long and is not recorded: its writer is gone.
_UNRECORDED = 3600 * SECOND
_WAIT_S = 0.2
_MOST_WAITS = 300

R = TypeVar("R")


class DatasetStorage:
    """Writes content and removes it, so that a server that dies leaves nothing for good.

    The record notes content before it is written, and the note goes in the transaction that
    records the data set. Content with an old note and no data set is removed.
    """

    def __init__(self, database: Database, url: str) -> None:
        """Touch nothing yet.

        Args:
            database: The record.
            url: Of the blob store.

        Raises:
            BadSetting: It is of no kind that is supported.
        """
        self._database = database
        self._url = url
        self._removing = asyncio.Lock()
        try:
            Blobs(url)
        except (ValueError, ImportError) as exc:
            raise BadSetting(f"TALWEG_BLOBS cannot be used: {exc}") from exc

    async def store(
        self, row: StoredDatasetRow, description: Path, data: Path
    ) -> StoredDatasetRow:
        """Write content, and record the data set.

        Args:
            row: What to record.
            description: The same for workers, as JSON.
            data: The canonical form.

        Raises:
            BlobsUnavailable: The store cannot be written; nothing is recorded.
        """
        project = current_project() or row.project
        content = Content(row.digest, project)
        row = replace(row, project=project, stored_in=project)
        for _ in range(_MOST_WAITS):
            if await self._database.writing(_note, content):
                await _answered(partial(self._write, content, description, data))
                recorded = await self._database.writing(_record, row)
                if recorded is not None:
                    return recorded
            # The same content was deleted a moment ago, and is being removed; or another upload of
            # it has ended, and with it the note.
            await asyncio.sleep(_WAIT_S)
        raise BlobsUnavailable("the same content is still being removed: upload it again later")

    async def is_whole(self, row: StoredDatasetRow) -> bool:
        """Return whether a data set's content is in the store, as far as sizes tell.

        A store that does not answer has not lost anything.
        """
        try:
            return await asyncio.to_thread(self._is_whole, row)
        except OSError as exc:
            log.warning("the blob store fails: %s", exc)
            return True

    async def remove_unreferenced(self) -> None:
        """Remove content that no data set refers to any more.

        Raises:
            BlobsUnavailable: Some cannot be removed now.
        """
        # One at a time: another would go on with its list after the content was stored anew.
        async with self._removing:
            for content in await self._database.writing(stored_datasets.begin_removing, _LIMIT):
                blobs = project_blobs(self._url, content.project)
                await _answered(partial(blobs.remove_folder, _folder(content.digest)))
                await self._database.writing(stored_datasets.forget_unreferenced, content)

    async def run(self) -> None:
        """Remove such content now and then, until cancelled."""
        outage = Outage(log, "cannot remove stored data", "removing stored data works again")
        while True:
            try:
                await self.remove_unreferenced()
            except (BlobsUnavailable, DatabaseUnavailable) as exc:
                outage.failed(exc)
            else:
                outage.passed()
            await asyncio.sleep(_PERIOD_S)

    def _write(self, content: Content, description: Path, data: Path) -> None:
        blobs, folder = project_blobs(self._url, content.project), _folder(content.digest)
        size = data.stat().st_size
        try:
            # The name says what is in it.
            is_there = blobs.size(f"{folder}/{data.name}") == size
        except FileNotFoundError:
            is_there = False
        if not is_there:
            _put(blobs, f"{folder}/{data.name}", data)
        _put(blobs, f"{folder}/{_INFO}", description)

    def _is_whole(self, row: StoredDatasetRow) -> bool:
        blobs, folder = project_blobs(self._url, row.stored_in), _folder(row.digest)
        sizes = {name: blobs.size(f"{folder}/{name}") for name in blobs.names(folder)}
        return bool(sizes.pop(_INFO, 0)) and info_of(row).num_bytes in sizes.values()


def _put(blobs: Blobs, path: str, source: Path) -> None:
    try:
        blobs.put(path, source)
    except IsADirectoryError:
        # Nothing of ours is a folder there.
        blobs.remove_folder(path)
        blobs.put(path, source)


def _folder(digest: str) -> str:
    return f"datasets/{digest}"


def _note(tx: Transaction, content: Content) -> bool:
    return stored_datasets.note_unreferenced(tx, content, due=tx.now + _UNRECORDED)


def _record(tx: Transaction, row: StoredDatasetRow) -> StoredDatasetRow | None:
    """Record a data set in place of the note of its content; None where that has gone."""
    if not stored_datasets.take_note(tx, Content(row.digest, row.stored_in)):
        return None
    return stored_datasets.insert_version(tx, row)


async def _answered(work: Callable[[], R]) -> R:
    try:
        return await asyncio.to_thread(work)
    except OSError as exc:
        log.warning("the blob store fails: %s", exc)
        if is_full(exc):
            raise BlobsUnavailable(
                "the blob store's disk is full: make room there (TALWEG_BLOBS) and try again"
            ) from exc
        raise BlobsUnavailable(
            "the blob store does not answer, or cannot be written: try again"
        ) from exc
