"""Looks at a file or copies it, and notices when it changes meanwhile."""

import hashlib
import re
import sys
import traceback
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any

from talweg.ingest.fetching.local import open_local
from talweg.ingest.fetching.remote import open_remote
from talweg.ingest.fetching.source import CannotFetchError, Source
from talweg.ingest.problems import quoted
from talweg.spec.local.room import is_full
from talweg.spec.stored.uris import DataUri, parse_root, parse_uri

_PIECE = 1 << 20
# Of addresses that the operator has set, such as AWS_ENDPOINT_URL.
_USERINFO = re.compile(r"(?<=://)\S*@")


class _DiskFullError(Exception):
    """The copy has no room; the file is not to blame."""


def fetch(uri: str, root: str, target: Path | None, *, max_bytes: int) -> dict[str, Any]:
    """Look at a file, and copy it.

    Args:
        uri: The file.
        root: What it must lie below.
        target: Where the copy goes; None to look alone.
        max_bytes: The largest file that is taken.

    Returns:
        Size, fingerprint, time and, of a copy, sha256; or the problem, or that the disk is full.
    """
    parsed = parse_uri(uri)
    try:
        source = _source(parsed, parse_root(root))
        return _fetched(source, parsed, target, max_bytes)
    except CannotFetchError as exc:
        return {"problem": asdict(exc.problem)}
    except _DiskFullError:
        return {"disk_full": True}
    except Exception as exc:
        # What a library of a store, or the store, says.
        print(_USERINFO.sub("…@", traceback.format_exc()), file=sys.stderr)
        text = _USERINFO.sub("…@", str(exc))[:200]
        problem = CannotFetchError(
            f"{quoted(uri)}, which cannot be read ({type(exc).__name__}: {text})",
            "a file that the server may read",
            "try again, or have the server's operator look at its credentials and its network",
        ).problem
        return {"problem": asdict(problem)}


def _source(uri: DataUri, root: DataUri) -> Source:
    assert root.holds(uri)
    return open_local(uri, root) if uri.scheme == "file" else open_remote(uri)


def _fetched(source: Source, uri: DataUri, target: Path | None, max_bytes: int) -> dict[str, Any]:
    if source.num_bytes > max_bytes:
        raise CannotFetchError(
            f"{quoted(str(uri))}, {source.num_bytes:,} bytes",
            f"at most {max_bytes:,} (TALWEG_MAX_UPLOAD_BYTES)",
            "name a folder in it, or have the limit raised"
            if source.is_folder
            else "store numbers as Parquet, leave columns out, or have the limit raised",
        )
    if not source.num_bytes:
        raise CannotFetchError(f"{quoted(str(uri))}, an empty file", "a file with data", "")
    answer: dict[str, Any] = {
        "num_bytes": source.num_bytes,
        "fingerprint": source.fingerprint,
        "modified": source.modified,
        "is_folder": source.is_folder,
    }
    if target is not None:
        answer["sha256"] = _copy(source, uri, target)
    return answer


def _copy(source: Source, uri: DataUri, target: Path) -> str:
    """Copy a file; return its sha256."""
    digest, copied = hashlib.sha256(), 0
    # Without a buffer, which would be written when it is closed.
    with source.open() as file, target.open("xb", buffering=0) as copy:
        # One that grows is not followed.
        while copied <= source.num_bytes and (piece := file.read(_PIECE)):
            digest.update(piece)
            _write(copy, piece)
            copied += len(piece)
    if copied != source.num_bytes or source.fingerprint_now() != source.fingerprint:
        raise CannotFetchError(
            f"{quoted(str(uri))}, which has changed while it was read",
            "a file that stays as it is",
            "submit again once it is written; write files aside and rename them",
        )
    return digest.hexdigest()


def _write(copy: FileIO, piece: bytes) -> None:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[copy.write(rest) :]
    except OSError as exc:
        if is_full(exc):
            raise _DiskFullError from exc
        raise
