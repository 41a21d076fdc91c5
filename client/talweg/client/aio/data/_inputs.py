# Made by client/make_asyncio.py from ../../data/_inputs.py: change that module.
"""What specs name on this machine or in MLflow, and the server is told otherwise."""

from talweg.client.aio._connection import Connection
from talweg.client.aio.data._files_in_specs import StoredFiles
from talweg.client.aio.data._registered import RegisteredWeights
from talweg.v1.spec_pb2 import JobSpec


class Inputs:
    """The data files and registered models of a submission, each looked up once."""

    def __init__(self, connection: Connection) -> None:
        """Look up nothing yet.

        Args:
            connection: To the server.
        """
        self._files = StoredFiles(connection)
        self._registered = RegisteredWeights(connection)

    async def resolved(self, spec: JobSpec) -> JobSpec:
        """Return a spec that the server understands: with stored data, and the job of a model.

        Raises:
            InvalidSpec: A file or a registered model is not there, or cannot be read.
            TalwegError: Another error of the server or of MLflow.
        """
        return await self._registered.named(await self._files.stored(spec))
