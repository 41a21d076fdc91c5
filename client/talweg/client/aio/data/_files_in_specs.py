# Made by client/make_asyncio.py from ../../data/_files_in_specs.py: change that module.
"""Data files that specs name: uploaded where the server has not got them, then named as stored."""

import os
from pathlib import Path

from talweg.client._errors import InvalidRequest, InvalidSpec
from talweg.client.aio._connection import Connection
from talweg.client.aio.data._stored import AsyncStoredDataset, upload
from talweg.client.data._files_in_specs import _OF_FILES, _violated, _violations, names_file
from talweg.client.data._sources import default_name
from talweg.spec.stored import is_dataset_name
from talweg.v1.datasets_pb2 import FileData
from talweg.v1.spec_pb2 import JobSpec


class StoredFiles:
    """The data files of a submission, each uploaded once however many jobs name it."""

    def __init__(self, connection: Connection) -> None:
        """Upload nothing yet."""
        self._connection = connection
        self._stored: dict[bytes, AsyncStoredDataset] = {}

    async def stored(self, spec: JobSpec) -> JobSpec:
        """Return a spec that names the stored data set instead of the file; others as they are.

        Raises:
            InvalidSpec: The file is not there, or its content cannot be read.
            TalwegError: Another error of the server.
        """
        if not names_file(spec):
            return spec
        file = spec.dataset.file
        stored = await self._stored_file(file)
        changed = JobSpec()
        changed.CopyFrom(spec)
        roles = FileData()
        roles.CopyFrom(file)
        for field in _OF_FILES:
            roles.ClearField(field)
        # The roles have the same numbers in both messages; a test holds them alike.
        changed.dataset.stored.ParseFromString(roles.SerializeToString())
        changed.dataset.stored.name = f"{stored.name}@{stored.digest}"
        return changed

    async def _stored_file(self, file: FileData) -> AsyncStoredDataset:
        key = FileData(path=file.path, name=file.name, read=file.read).SerializeToString(
            deterministic=True
        )
        if key not in self._stored:
            self._stored[key] = await self._uploaded(file)
        return self._stored[key]

    async def _uploaded(self, file: FileData) -> AsyncStoredDataset:
        path = Path(os.path.expanduser(file.path))
        if file.name and not is_dataset_name(file.name):
            raise _violated("name", repr(file.name), "letters, digits, dots, dashes, underscores")
        try:
            name = file.name or default_name(path)
            return await upload(self._connection, path, name=name, read=file.read)
        except InvalidSpec as error:
            raise error
        except OSError as error:
            what = error.strerror or str(error)
            hint = "the path is relative to the job file" if not path.is_absolute() else ""
            raise _violated("path", f"{str(path)!r}: {what}", "a file or folder", hint) from error
        except InvalidRequest as error:
            raise InvalidSpec(
                violations=_violations(error, path), reason=error.reason or "INVALID_SPEC"
            ) from error
