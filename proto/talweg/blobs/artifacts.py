"""The files that jobs leave in their project's part of the blob store: workers write them, servers
read them.

    jobs/ID/artifacts/ATTEMPT/PART/PATH    a file
    jobs/ID/artifacts/ATTEMPT/PART.json    the files of a part, written after them

A part is what one process writes: TRAINING before the job is reported as ended, PICTURES a little
later. Attempts have folders of their own, so that one that has lost its job writes over nobody's
files. A list holds `format`, `files` (`path`, `bytes` and `sha256` of each) and `awaits`, the
parts that are to follow. A part without a list does not count: its writer was killed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talweg.blobs.store import Blobs
from talweg.spec import is_blob_path, is_sha256, job_id

TRAINING, PICTURES = "training", "pictures"
"""The parts."""
_PARTS = (TRAINING, PICTURES)
_FORMAT = 1
_LIST = ".json"


class DamagedListError(ValueError):
    """A list of files cannot be read."""


@dataclass(frozen=True)
class StoredArtifact:
    """A file that a job has left."""

    path: str
    """Among the job's files, such as model/weights.safetensors."""
    num_bytes: int
    """Its size."""
    sha256: str
    """In hexadecimal."""
    blob: str
    """Where it is in the store."""


@dataclass(frozen=True)
class StoredArtifacts:
    """What a job has left so far."""

    files: Sequence[StoredArtifact]
    """By path; of a path that several attempts have written, the last one's."""
    awaits: frozenset[str]
    """Parts of the last attempt that are to follow."""
    attempts: Sequence[int]
    """The attempts that have left a part, in order."""


def write_artifacts(
    blobs: Blobs,
    job: str,
    attempt: int,
    part: str,
    files: Mapping[str, Path | bytes],
    *,
    awaits: Sequence[str] = (),
) -> None:
    """Write a part; written again it is the same.

    Args:
        blobs: The store.
        job: `jobs/ID`.
        attempt: From 1.
        part: TRAINING or PICTURES.
        files: By path: a file of this machine, or the content.
        awaits: Parts that are to follow.

    Raises:
        ValueError: A path or the job's name is none; an UnsafePathError leads out of the store.
        OSError: Something cannot be read or written.
    """
    folder = f"{_folder(job)}/{attempt}"
    entries = []
    for path, source in files.items():
        blob = f"{folder}/{part}/{path}"
        if isinstance(source, bytes):
            digest, num_bytes = hashlib.sha256(source).hexdigest(), len(source)
            blobs.write(blob, source)
        else:
            with source.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                num_bytes = file.tell()
            blobs.put(blob, source)
        entries.append({"path": path, "bytes": num_bytes, "sha256": digest})
    content = {"format": _FORMAT, "files": entries, "awaits": list(awaits)}
    blobs.write(f"{folder}/{part}{_LIST}", json.dumps(content).encode())


def has_part(blobs: Blobs, job: str, attempt: int, part: str) -> bool:
    """Return whether a part is there.

    Raises:
        ValueError: That is not a job's name.
        OSError: The store does not answer.
    """
    return f"{part}{_LIST}" in blobs.names(f"{_folder(job)}/{attempt}")


def read_artifacts(blobs: Blobs, job: str, *, last: int) -> StoredArtifacts:
    """Return the files of a job.

    Args:
        blobs: The store.
        job: `jobs/ID`.
        last: The last attempt that counts: what a later one has left is passed over.

    Raises:
        DamagedListError: A list cannot be read.
        ValueError: That is not a job's name.
        OSError: The store does not answer.
    """
    folder = _folder(job)
    numbers = sorted(int(name) for name in blobs.names(folder) if name.isdecimal())
    files: dict[str, StoredArtifact] = {}
    awaits: frozenset[str] = frozenset()
    attempts = []
    for number in (each for each in numbers if each <= last):
        names = blobs.names(f"{folder}/{number}")
        present = [part for part in _PARTS if f"{part}{_LIST}" in names]
        awaited: set[str] = set()
        for part in present:
            place = f"{folder}/{number}/{part}"
            content = _read_list(blobs, f"{place}{_LIST}")
            awaited.update(content["awaits"])
            files |= {each.path: each for each in _files(content, place)}
        if present:
            attempts.append(number)
            awaits = frozenset(awaited - set(present))
    return StoredArtifacts([files[path] for path in sorted(files)], awaits, attempts)


def _folder(job: str) -> str:
    return f"jobs/{job_id(job)}/artifacts"


def _read_list(blobs: Blobs, path: str) -> Mapping[str, Any]:
    try:
        content = json.loads(blobs.read(path))
        version = content["format"]
        awaits = content["awaits"]
    except (ValueError, KeyError, TypeError) as exc:
        raise DamagedListError(f"{path} in the blob store cannot be read: {exc!r}") from exc
    if version != _FORMAT:
        raise DamagedListError(
            f"{path} in the blob store: format must be {_FORMAT}, but got {version!r}: update "
            "this server"
        )
    if not isinstance(awaits, list) or not all(isinstance(each, str) for each in awaits):
        raise DamagedListError(f"{path} in the blob store: awaits must be a list of texts")
    return dict(content)


def _files(content: Mapping[str, Any], place: str) -> list[StoredArtifact]:
    """Return the files of a list, which others may have written to: no path leads out of it."""
    try:
        files = [
            StoredArtifact(
                str(each["path"]),
                int(each["bytes"]),
                str(each["sha256"]),
                f"{place}/{each['path']}",
            )
            for each in content["files"]
        ]
    except (ValueError, KeyError, TypeError) as exc:
        raise DamagedListError(f"{place}{_LIST} in the blob store: {exc!r}") from exc
    for file in files:
        if not is_blob_path(file.path) or file.num_bytes < 0 or not is_sha256(file.sha256):
            raise DamagedListError(
                f"{place}{_LIST} in the blob store names {file.path[:200]!a}, which is no file's "
                "path, or its size or sha256 is none"
            )
    return files
