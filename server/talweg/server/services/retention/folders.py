"""Folders in the blob store whose jobs the record does not know.

They are left where the record was restored from an older copy, or forgot a job before its files.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from talweg.blobs import Blobs
from talweg.server.errors import BlobsUnavailable
from talweg.server.services.retention.ages import check_age
from talweg.server.store import folders
from talweg.server.store.record.clock import from_datetime
from talweg.server.store.record.database import Database
from talweg.spec import is_job_id, job_name

_FOLDER = "jobs"
_MOST_AT_ONCE = 1000
_BATCH = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnknownFolder:
    """A folder without a job."""

    id: str
    """The id of the job that it is named after."""

    write_time: int
    """When a file in it was last written, in microseconds."""

    bytes: int
    """Size of all files."""


class FolderService:
    """Finds such folders, and has workers remove them on request, as those of deleted jobs."""

    def __init__(self, database: Database, blobs: str) -> None:
        """Touch nothing yet.

        Args:
            database: The record.
            blobs: The blob store's folder or URL.
        """
        self._database = database
        self._url = blobs

    async def collect(
        self, *, older_than: timedelta, validate_only: bool = False
    ) -> Sequence[UnknownFolder]:
        """Remove folders that belong to no job, and to which no job refers.

        Args:
            older_than: How long ago a file in them was last written at least.
            validate_only: Only say which would be removed.

        Returns:
            The folders, the oldest first; at most 1,000.

        Raises:
            InvalidRequest: The age is out of bounds.
            BlobsUnavailable: The blob store does not answer.
        """
        check_age(older_than)
        before = datetime.now(UTC) - older_than
        ids = await asyncio.to_thread(self._ids)
        strangers: list[str] = []
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            unknown = await self._database.reading(folders.unknown, batch)
            strangers += [id_ for id_ in batch if id_ in unknown]
        old = await asyncio.to_thread(self._written_before, strangers, before)
        if validate_only or not old:
            return old
        removed = await self._database.writing(folders.remove, [each.id for each in old])
        return [each for each in old if each.id in removed]

    # In threads.

    def _ids(self) -> list[str]:
        with _answering():
            return [id_ for id_ in Blobs(self._url).names(_FOLDER) if is_job_id(id_)]

    def _written_before(self, ids: Sequence[str], before: datetime) -> list[UnknownFolder]:
        with _answering():
            old = list(_old(Blobs(self._url), ids, before))
        return sorted(old, key=lambda each: (each.write_time, each.id))[:_MOST_AT_ONCE]


def _old(blobs: Blobs, ids: Sequence[str], before: datetime) -> Iterator[UnknownFolder]:
    for id_ in ids:
        written = blobs.last_write(job_name(id_))
        if written is not None and written[0] <= before:
            yield UnknownFolder(id_, from_datetime(written[0]), written[1])


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (OSError, ImportError, ValueError) as exc:
        # Its text may hold paths and credentials.
        log.error("the blob store cannot be listed: %s", exc)
        raise BlobsUnavailable(
            "the blob store cannot be listed: check TALWEG_BLOBS of the server; its log has the "
            "reason"
        ) from exc
