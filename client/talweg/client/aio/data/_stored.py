# Made by client/make_asyncio.py from ../../data/_stored.py: change that module.
"""A stored data set, as the server describes it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from typing import Any, Self

from talweg.client.aio._connection import Connection
from talweg.client.aio._pages import paged
from talweg.client.aio.data._uploads import send
from talweg.client.data._sources import default_name, source_of
from talweg.client.data._stored import _PAGE, DatasetInfo, read_options
from talweg.client.data._uploads import Progress
from talweg.v1 import stored_datasets_pb2 as pb
from talweg.v1.datasets_pb2 import ReadOptions


class AsyncStoredDataset(DatasetInfo):
    """A version of a stored data set; it never changes."""

    def __init__(self, connection: Connection, message: pb.StoredDataset) -> None:
        """Take what a server has answered."""
        super().__init__(message)
        self._connection = connection

    async def refresh(self) -> Self:
        """Ask the server for the whole description.

        Raises:
            NotFound: It was deleted.
            TalwegError: Another error of the server.
        """
        request = pb.GetStoredDatasetRequest(name=self.message.name)
        self.message = await self._connection.call(
            self._connection.stored.GetStoredDataset, request
        )
        return self

    async def delete(self, *, force: bool = False) -> None:
        """Delete this version.

        Args:
            force: Also if ended jobs have read it, which then cannot be repeated.

        Raises:
            FailedPrecondition: Jobs use it.
            TalwegError: Another error of the server.
        """
        await delete(self._connection, self.message.name, force=force)


async def upload(
    connection: Connection,
    data: object,
    *,
    name: str | None = None,
    read: ReadOptions | Mapping[str, Any] | None = None,
    validate_only: bool = False,
    on_progress: Progress | None = None,
) -> AsyncStoredDataset:
    """Upload data; see `Client.upload`."""
    options = read if isinstance(read, ReadOptions) else read_options(read or {})
    with ExitStack() as stack:
        source = await connection.work(stack.enter_context, source_of(data))
        message = await send(
            connection,
            source,
            name=name or default_name(data),
            options=options,
            validate_only=validate_only,
            on_progress=on_progress,
        )
    return AsyncStoredDataset(connection, message)


async def stored_datasets(connection: Connection, name: str) -> AsyncIterator[AsyncStoredDataset]:
    """Yield the stored data sets, page by page; see `Client.stored_datasets`."""
    async for message in paged(
        connection,
        connection.stored.ListStoredDatasets,
        pb.ListStoredDatasetsRequest(name=name),
        lambda response: response.datasets,
        page_size=_PAGE,
    ):
        yield AsyncStoredDataset(connection, message)


async def delete(connection: Connection, name: str, *, force: bool) -> None:
    """Delete a version, or all versions of a name; see `Client.delete_stored_dataset`."""
    request = pb.DeleteStoredDatasetRequest(name=name, force=force)
    await connection.call(connection.stored.DeleteStoredDataset, request)


async def stored_dataset(connection: Connection, name: str) -> AsyncStoredDataset:
    """Return a stored data set; see `Client.stored_dataset`."""
    request = pb.GetStoredDatasetRequest(name=name)
    return AsyncStoredDataset(
        connection, await connection.call(connection.stored.GetStoredDataset, request)
    )
