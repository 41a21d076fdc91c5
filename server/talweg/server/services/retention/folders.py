"""Folders in the blob store whose jobs the record does not know.

They are left where the record was restored from an older copy, or forgot a job before its files.
"""

from collections.abc import Sequence

from talweg.server.errors import InvalidRequest
from talweg.server.services.arguments import job_of
from talweg.server.store import folders
from talweg.server.store.database import Database, Transaction
from talweg.server.store.folders import UnknownFolder
from talweg.spec import job_name

_MAX_FOLDERS = 1000
_MAX_INT = 2**63 - 1


class FolderService:
    """Takes in what workers find in the blob store."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def report(self, found: Sequence[tuple[str, int | None, int]]) -> list[str]:
        """Say which folders belong to no job, and note those whose age is known.

        Args:
            found: `jobs/{id}`, when a file in it was last written, in microseconds, if that is
                known, and the size of all files.

        Returns:
            The names of those without a job.

        Raises:
            InvalidRequest: There are too many, or one is not named as a job's, or a number is
                negative.
        """
        if len(found) > _MAX_FOLDERS:
            raise InvalidRequest.of(
                "folders", f"must be <= {_MAX_FOLDERS:,}, but there are {len(found):,}"
            )
        ids: list[str] = []
        timed: dict[str, UnknownFolder] = {}
        for index, (name, write_time, size) in enumerate(found):
            id_ = job_of(name, field=f"folders[{index}].job")
            ids.append(id_)
            if size < 0:
                raise InvalidRequest.of(f"folders[{index}].bytes", f"must be >= 0, but got {size}")
            if write_time is not None:
                if not 0 <= write_time <= _MAX_INT:
                    raise InvalidRequest.of(
                        f"folders[{index}].write_time", "must be 1970 or later"
                    )
                timed[id_] = UnknownFolder(id_, write_time, size)
        if not timed:
            unknown = await self._database.reading(folders.unknown, ids)
        else:
            unknown = await self._database.writing(_note, ids, timed)
        return [job_name(id_) for id_ in ids if id_ in unknown]


def _note(tx: Transaction, ids: Sequence[str], timed: dict[str, UnknownFolder]) -> set[str]:
    unknown = folders.unknown(tx.connection, ids)
    folders.note(tx, [folder for id_, folder in timed.items() if id_ in unknown])
    return unknown
