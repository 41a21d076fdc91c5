"""Finds stored data sets."""

from collections.abc import Sequence
from dataclasses import dataclass

from talweg.server.errors import InvalidRequest
from talweg.server.queries.pages import decode, encode
from talweg.server.services.arguments import count
from talweg.server.store import stored_datasets
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import StoredDatasetRow
from talweg.spec.stored import DatasetName, is_dataset_name

_DEFAULT_PAGE, _MAX_PAGE = 100, 1000


@dataclass(frozen=True)
class DatasetPage:
    """One page of a list."""

    rows: Sequence[StoredDatasetRow]
    """Without their columns."""
    next_token: str
    """Empty on the last page."""


class LookupService:
    """Reads the record of stored data sets."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def get(self, name: str) -> StoredDatasetRow:
        """Find a version.

        Args:
            name: NAME or NAME@DIGEST, also behind `datasets/`; a name alone means the newest.

        Raises:
            DatasetNotFound: There is none.
            InvalidRequest: That is no name.
        """
        return await self._database.reading(stored_datasets.find, dataset_name(name))

    async def list_page(self, *, name: str, page_size: int, page_token: str) -> DatasetPage:
        """List versions, the newest first.

        Args:
            name: Of this name; empty for all.
            page_size: At most so many; 0 for a hundred.
            page_token: Of the page before.

        Raises:
            InvalidRequest: An argument is out of bounds.
            BadPageToken: The token was not given for these arguments.
        """
        size = count(page_size, field="page_size", most=_MAX_PAGE, default=_DEFAULT_PAGE)
        name = name.removeprefix("datasets/")
        if name and not is_dataset_name(name):
            raise InvalidRequest.of("name", f"must be the name of a data set, but got {name!a}")
        after = decode(page_token, [name], [int, int]) if page_token else None
        rows = await self._database.reading(stored_datasets.page, name, after, size + 1)
        token = ""
        if len(rows) > size:
            rows = rows[:size]
            token = encode([rows[-1].update_time, rows[-1].seq], [name])
        return DatasetPage(rows, token)


def dataset_name(text: str) -> DatasetName:
    """Read a data set's name.

    Raises:
        InvalidRequest: It is none.
    """
    name = DatasetName.parse(text)
    if name is None:
        raise InvalidRequest.of(
            "name",
            "must be datasets/NAME or datasets/NAME@DIGEST with 8 to 64 hexadecimal digits, but "
            f"got {text[:200]!a}",
        )
    return name
