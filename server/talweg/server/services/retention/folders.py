"""Folders in the blob store whose jobs the record does not know.

They are left where the record was restored from an older copy, or forgot a job before its files.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from talweg.blobs import job_folders, project_blobs
from talweg.server.errors import BlobsUnavailable
from talweg.server.services.retention.ages import check_age
from talweg.server.store import folders
from talweg.server.store.record.clock import from_datetime
from talweg.server.store.record.database import Database
from talweg.spec import job_name

_MOST_AT_ONCE = 1000
_BATCH = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnknownFolder:
    """A folder without a job."""

    id: str
    """The id of the job that it is named after."""

    project: str
    """In whose part of the store it lies."""

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
        projects = await asyncio.to_thread(self._projects)
        ids = list(projects)
        strangers: dict[str, str] = {}
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            unknown = await self._database.reading(folders.unknown, batch)
            strangers |= {id_: projects[id_] for id_ in batch if id_ in unknown}
        old = await asyncio.to_thread(self._written_before, strangers, before)
        if validate_only or not old:
            return old
        removed = await self._database.writing(
            folders.remove, {each.id: each.project for each in old}
        )
        return [each for each in old if each.id in removed]

    # In threads.

    def _projects(self) -> dict[str, str]:
        """Return the ids of all folders, and in whose part of the store each lies.

        One that is at the root too goes from there with its project's.
        """
        with _answering():
            return {id_: project for project, id_ in job_folders(self._url)}

    def _written_before(
        self, projects: Mapping[str, str], before: datetime
    ) -> list[UnknownFolder]:
        with _answering():
            old = list(_old(self._url, projects, before))
        return sorted(old, key=lambda each: (each.write_time, each.id))[:_MOST_AT_ONCE]


def _old(url: str, projects: Mapping[str, str], before: datetime) -> Iterator[UnknownFolder]:
    for id_, project in projects.items():
        written = project_blobs(url, project).last_write(job_name(id_))
        if written is not None and written[0] <= before:
            yield UnknownFolder(id_, project, from_datetime(written[0]), written[1])


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
