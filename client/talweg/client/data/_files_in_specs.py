"""Data files that specs name: uploaded where the server has not got them, then named as stored."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from talweg.client._connection import Connection
from talweg.client._errors import InvalidRequest, InvalidSpec
from talweg.client.data._sources import default_name
from talweg.client.data._stored import StoredDataset, upload
from talweg.spec import Violation
from talweg.spec.stored import is_dataset_name
from talweg.v1.datasets_pb2 import FileData
from talweg.v1.spec_pb2 import JobSpec

_OF_FILES: Final = ("path", "name", "read")


def with_absolute_paths(spec: JobSpec, folder: Path) -> None:
    """Take the path of a data file in a spec as relative to the job file's folder.

    Args:
        spec: Changed in place.
        folder: Where the job file lies.
    """
    if spec.dataset.WhichOneof("kind") == "file" and spec.dataset.file.path:
        path = Path(os.path.expanduser(spec.dataset.file.path))
        spec.dataset.file.path = str(folder / path)


def names_file(spec: JobSpec) -> bool:
    """Return whether a spec names a data file of this machine."""
    return spec.dataset.WhichOneof("kind") == "file"


class StoredFiles:
    """The data files of a submission, each uploaded once however many jobs name it."""

    def __init__(self, connection: Connection) -> None:
        """Upload nothing yet."""
        self._connection = connection
        self._stored: dict[bytes, StoredDataset] = {}

    def stored(self, spec: JobSpec) -> JobSpec:
        """Return a spec that names the stored data set instead of the file; others as they are.

        Raises:
            InvalidSpec: The file is not there, or its content cannot be read.
            TalwegError: Another error of the server.
        """
        if not names_file(spec):
            return spec
        file = spec.dataset.file
        stored = self._stored_file(file)
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

    def _stored_file(self, file: FileData) -> StoredDataset:
        key = FileData(path=file.path, name=file.name, read=file.read).SerializeToString(
            deterministic=True
        )
        if key not in self._stored:
            self._stored[key] = self._uploaded(file)
        return self._stored[key]

    def _uploaded(self, file: FileData) -> StoredDataset:
        path = Path(os.path.expanduser(file.path))
        if file.name and not is_dataset_name(file.name):
            raise _violated("name", repr(file.name), "letters, digits, dots, dashes, underscores")
        try:
            name = file.name or default_name(path)
            return upload(self._connection, path, name=name, read=file.read)
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


def _violated(field: str, found: str, allowed: str, hint: str = "") -> InvalidSpec:
    return InvalidSpec(
        violations=[Violation(f"dataset.file.{field}", found, allowed, hint)],
        reason="INVALID_SPEC",
    )


def _violations(error: InvalidRequest, path: Path) -> Iterable[Violation]:
    """Name the file in each of the problems of its content."""
    if error.violations:
        return [
            Violation(f"{path.name}: {each.field}", each.found, each.allowed, each.hint)
            for each in error.violations
        ]
    return [Violation("dataset.file", str(path), "data that can be read", str(error))]
