"""The part of a client that uploads data sets and looks at them."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from talweg.client.data._inputs import Inputs
from talweg.client.data._stored import (
    StoredDataset,
    delete,
    stored_dataset,
    stored_datasets,
    upload,
)
from talweg.client.data._uploads import Progress
from talweg.v1.datasets_pb2 import ReadOptions

if TYPE_CHECKING:
    from talweg.client._connection import Connection


class DataClient:
    """The part of a client that uploads data sets and looks at them."""

    _connection: "Connection"

    def upload(
        self,
        data: object,
        *,
        name: str | None = None,
        read: ReadOptions | Mapping[str, Any] | None = None,
        validate_only: bool = False,
        on_progress: Progress | None = None,
    ) -> StoredDataset:
        """Upload data of your own; the same data again are not sent, and nothing new is stored.

            houses = client.upload("houses.csv")
            dataset = {"stored": {"name": houses.name, "target": "price"}}
            client.submit({"task": "regression", "dataset": dataset, ...})

        Args:
            data: The path of a file (CSV, Parquet, Arrow, NumPy, safetensors) or of a folder of
                images; a data frame of pandas or polars; NumPy arrays by name. A safetensors file
                may hold the weights of a model, for jobs to start from.
            name: What it is called; the file's name without its ending if absent.
            read: How to read the file, such as ``{"delimiter": ";"}``; detected if absent.
            validate_only: Only read and describe it: nothing is stored.
            on_progress: Called with the bytes that were sent, and those of the whole file.

        Raises:
            InvalidRequest: It cannot be read; `violations` has all problems, with their places.
            OSError: The file cannot be read on this machine.
            TalwegError: Another error of the server.
        """
        return upload(
            self._connection,
            data,
            name=name,
            read=read,
            validate_only=validate_only,
            on_progress=on_progress,
        )

    def stored_datasets(self, *, name: str = "") -> Iterator[StoredDataset]:
        """Yield the stored data sets, the newest first, without their columns.

        Args:
            name: Only versions of this name.

        Raises:
            TalwegError: An error of the server.
        """
        return stored_datasets(self._connection, name)

    def stored_dataset(self, name: str) -> StoredDataset:
        """Return a stored data set with its columns.

        Args:
            name: Its name, or NAME@DIGEST with 8 or more characters of the digest; a name alone
                means the newest version.

        Raises:
            NotFound: There is none.
            TalwegError: Another error of the server.
        """
        return stored_dataset(self._connection, name)

    def delete_stored_dataset(self, name: str, *, force: bool = False) -> None:
        """Delete a version of a stored data set, or all versions of a name.

        Args:
            name: NAME@DIGEST, or NAME for all versions.
            force: Also if ended jobs have read it, which then cannot be repeated.

        Raises:
            NotFound: There is none.
            FailedPrecondition: Jobs use it.
            TalwegError: Another error of the server.
        """
        delete(self._connection, name, force=force)

    def _inputs(self) -> Inputs:
        """Return what looks up the files and registered models of one submission."""
        return Inputs(self._connection)
