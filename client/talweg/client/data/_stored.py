"""A stored data set, as the server describes it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Self

from talweg.client._connection import Connection
from talweg.client._errors import to_message
from talweg.client._pages import paged
from talweg.client.data._sources import default_name, source_of
from talweg.client.data._uploads import Progress, send
from talweg.v1 import stored_datasets_pb2 as pb
from talweg.v1.datasets_pb2 import ReadOptions

_SHORT = 12
_PAGE = 200


class DatasetInfo:
    """A version of a stored data set as the server has described it."""

    message: pb.StoredDataset
    """What the server says: columns with their statistics, warnings, a preview."""

    def __init__(self, message: pb.StoredDataset) -> None:
        """Take what a server has answered."""
        self.message = message

    @property
    def name(self) -> str:
        """What it is called, without its version."""
        return self.message.name.removeprefix("datasets/").partition("@")[0]

    @property
    def digest(self) -> str:
        """sha256 of its content, in hexadecimal: its version."""
        return self.message.digest

    @property
    def version(self) -> str:
        """The name with a short digest, ``houses@1a2b3c4d5e6f``, as job files take it."""
        return f"{self.name}@{self.digest[:_SHORT]}"

    @property
    def num_samples(self) -> int:
        """Rows, or samples."""
        return self.message.num_samples

    @property
    def is_weights(self) -> bool:
        """Whether these are the weights of a model, and no data."""
        return self.message.options.format == ReadOptions.weights

    @property
    def columns(self) -> Sequence[pb.DataColumn]:
        """Columns or arrays, or tensors of weights; left out in lists, see `refresh`."""
        return self.message.columns

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is worth knowing before training."""
        return tuple(self.message.warnings)

    @property
    def create_time(self) -> datetime:
        """When it was stored."""
        return self.message.create_time.ToDatetime(tzinfo=UTC)

    def __repr__(self) -> str:
        """Return name, version and size."""
        size = "weights" if self.is_weights else f"{self.num_samples:,} samples"
        return f"<{type(self).__name__} {self.version}, {size}>"


class StoredDataset(DatasetInfo):
    """A version of a stored data set; it never changes."""

    def __init__(self, connection: Connection, message: pb.StoredDataset) -> None:
        """Take what a server has answered."""
        super().__init__(message)
        self._connection = connection

    def refresh(self) -> Self:
        """Ask the server for the whole description.

        Raises:
            NotFound: It was deleted.
            TalwegError: Another error of the server.
        """
        request = pb.GetStoredDatasetRequest(name=self.message.name)
        self.message = self._connection.call(self._connection.stored.GetStoredDataset, request)
        return self

    def delete(self, *, force: bool = False) -> None:
        """Delete this version.

        Args:
            force: Also if ended jobs have read it, which then cannot be repeated.

        Raises:
            FailedPrecondition: Jobs use it.
            TalwegError: Another error of the server.
        """
        delete(self._connection, self.message.name, force=force)


def read_options(value: Mapping[str, Any]) -> ReadOptions:
    """Read the options by which a file is read from their JSON form.

    Raises:
        InvalidRequest: Names are unknown or values have a wrong type.
    """
    return to_message(value, ReadOptions, path="read")


def upload(
    connection: Connection,
    data: object,
    *,
    name: str | None = None,
    read: ReadOptions | Mapping[str, Any] | None = None,
    validate_only: bool = False,
    on_progress: Progress | None = None,
) -> StoredDataset:
    """Upload data; see `Client.upload`."""
    options = read if isinstance(read, ReadOptions) else read_options(read or {})
    with ExitStack() as stack:
        source = connection.work(stack.enter_context, source_of(data))
        message = send(
            connection,
            source,
            name=name or default_name(data),
            options=options,
            validate_only=validate_only,
            on_progress=on_progress,
        )
    return StoredDataset(connection, message)


def stored_datasets(connection: Connection, name: str) -> Iterator[StoredDataset]:
    """Yield the stored data sets, page by page; see `Client.stored_datasets`."""
    for message in paged(
        connection,
        connection.stored.ListStoredDatasets,
        pb.ListStoredDatasetsRequest(name=name),
        lambda response: response.datasets,
        page_size=_PAGE,
    ):
        yield StoredDataset(connection, message)


def delete(connection: Connection, name: str, *, force: bool) -> None:
    """Delete a version, or all versions of a name; see `Client.delete_stored_dataset`."""
    request = pb.DeleteStoredDatasetRequest(name=name, force=force)
    connection.call(connection.stored.DeleteStoredDataset, request)


def stored_dataset(connection: Connection, name: str) -> StoredDataset:
    """Return a stored data set; see `Client.stored_dataset`."""
    request = pb.GetStoredDatasetRequest(name=name)
    return StoredDataset(connection, connection.call(connection.stored.GetStoredDataset, request))
