"""Deletes stored data sets that no job needs."""

import logging

from talweg.server.errors import BlobsUnavailable, DatasetInUse
from talweg.server.services.stored_datasets.lookup import dataset_name
from talweg.server.services.stored_datasets.storage import DatasetStorage
from talweg.server.store import stored_datasets
from talweg.server.store.record.database import Database, Transaction
from talweg.spec.stored import DatasetName

log = logging.getLogger(__name__)

_MOST_NAMED = 3


class DatasetDeletionService:
    """Deletes data sets from the record, and their content from the blob store."""

    def __init__(self, database: Database, storage: DatasetStorage) -> None:
        """Keep the parts.

        Args:
            database: The record.
            storage: Where the content is.
        """
        self._database = database
        self._storage = storage

    async def delete(self, name: str, *, force: bool) -> None:
        """Delete a version, or all versions of a name.

        Args:
            name: As `LookupService.get` takes it.
            force: Also where ended jobs have read it.

        Raises:
            DatasetNotFound: There is none.
            DatasetInUse: A job that has not ended reads it, or without force any job.
            InvalidRequest: That is no name.
        """
        await self._database.writing(_delete, dataset_name(name), force)
        try:
            await self._storage.remove_unreferenced()
        except BlobsUnavailable as exc:
            # It is noted, and is tried again.
            log.warning("the content of %s stays for now: %s", name, exc)


def _delete(tx: Transaction, name: DatasetName, force: bool) -> None:
    rows = stored_datasets.lock_versions(tx, name)
    names = [str(DatasetName(row.name, row.digest)) for row in rows]
    jobs = stored_datasets.readers(tx.connection, names)
    running = [job for job, ended in jobs.items() if not ended]
    if running:
        raise DatasetInUse(
            f"{name} cannot be deleted: {_some(running)} and not ended: cancel or "
            "await them first",
            metadata={"dataset": str(name)},
        )
    if jobs and not force:
        raise DatasetInUse(
            f"{name} cannot be deleted: {_some(list(jobs))}, which could not be repeated; delete "
            "these jobs first, or force it",
            metadata={"dataset": str(name)},
        )
    stored_datasets.remove(tx, rows)


def _some(jobs: list[str]) -> str:
    names = ", ".join(jobs[:_MOST_NAMED]) + (", …" if len(jobs) > _MOST_NAMED else "")
    verb = "job has read it" if len(jobs) == 1 else "jobs have read it"
    return f"{len(jobs)} {verb} ({names})"
