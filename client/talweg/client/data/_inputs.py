"""What specs name on this machine or in MLflow, and the server is told otherwise."""

from collections.abc import Iterable
from typing import Final

from talweg.client._connection import Connection
from talweg.client.data._files_in_specs import StoredFiles
from talweg.client.data._registered import RegisteredWeights
from talweg.v1.spec_pb2 import JobSpec

# Twice what reading a file may take by default, since it may wait for others.
_SECONDS_TO_READ: Final = 3600.0


class Inputs:
    """The data files and registered models of a submission, each looked up once."""

    def __init__(self, connection: Connection) -> None:
        """Look up nothing yet.

        Args:
            connection: To the server.
        """
        self._files = StoredFiles(connection)
        self._registered = RegisteredWeights(connection)

    def resolved(self, spec: JobSpec) -> JobSpec:
        """Return a spec that the server understands: with stored data, and the job of a model.

        Raises:
            InvalidSpec: A file or a registered model is not there, or cannot be read.
            TalwegError: Another error of the server or of MLflow.
        """
        return self._registered.named(self._files.stored(spec))


def time_to_read(specs: Iterable[JobSpec]) -> float:
    """Return the seconds that the server may take to read data by their URIs; 0 without such."""
    return _SECONDS_TO_READ if any(map(names_uri, specs)) else 0.0


def names_uri(spec: JobSpec) -> bool:
    """Return whether a spec names its data by a URI."""
    return spec.dataset.WhichOneof("kind") == "uri"
