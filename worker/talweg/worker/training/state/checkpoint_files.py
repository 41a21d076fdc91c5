"""One checkpoint as two files.

- `NAME.safetensors` holds the tensors, by ``part/name``.
- `NAME.json` holds all else, and the first file's size and sha256. It is written last, and closes
  with a sha256 of its own content: so a checkpoint is whole or is seen not to be.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from talweg.blobs import Blobs
from talweg.worker.errors import WorkerError
from talweg.worker.training.state.snapshot import Snapshot

FORMAT = 1
TENSORS, DOCUMENT = ".safetensors", ".json"


class DamagedError(WorkerError):
    """A checkpoint is not whole, or is not what was written."""


@dataclass(frozen=True)
class Written:
    """A checkpoint as it was read."""

    snapshot: Snapshot
    """What it holds."""
    facts: Mapping[str, Any]
    """What stands beside: `facts` of `write`."""


def write(blobs: Blobs, name: str, snapshot: Snapshot, facts: Mapping[str, Any]) -> int:
    """Write a checkpoint.

    Args:
        blobs: The store.
        name: The path without an ending.
        snapshot: What it holds.
        facts: JSON values to stand beside: step, spec and the like.

    Returns:
        The size of the tensors' file in bytes.

    Raises:
        OSError: It cannot be written.
    """
    plain = {
        path: tensor.detach().cpu().contiguous().clone()
        for path, tensor in snapshot.tensors.items()
    }
    content = safetensors.torch.save(plain)
    blobs.write(name + TENSORS, content)
    document = {
        "format": FORMAT,
        **facts,
        "values": _plain(snapshot.values),
        "tensors": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()},
    }
    document["sha256"] = _digest(document)
    blobs.write(name + DOCUMENT, json.dumps(document, indent=1, allow_nan=False).encode())
    return len(content)


def read(blobs: Blobs, name: str) -> Written:
    """Read a checkpoint.

    Raises:
        DamagedError: A file is missing or is not what was written.
        OSError: It cannot be read, or the store does not answer.
    """
    with _damage_told(name):
        document = _document(blobs, name)
        content = blobs.read(name + TENSORS)
        if hashlib.sha256(content).hexdigest() != document["tensors"]["sha256"]:
            raise DamagedError(f"{name}{TENSORS} does not have its sha256")
        tensors = safetensors.torch.load(content)
    values = _original(document.pop("values"))
    return Written(Snapshot(tensors, values), document)


def read_facts(blobs: Blobs, name: str) -> Mapping[str, Any]:
    """Read what stands beside a checkpoint's tensors: `Written.facts`, and no tensor.

    Raises:
        DamagedError: The file is missing or is not what was written.
        OSError: It cannot be read, or the store does not answer.
    """
    with _damage_told(name):
        document = _document(blobs, name)
        del document["values"]
    return document


def remove(blobs: Blobs, name: str) -> None:
    """Remove a checkpoint's files; the one first without which the other is none."""
    blobs.remove(name + DOCUMENT)
    blobs.remove(name + TENSORS)


def _document(blobs: Blobs, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(blobs.read(name + DOCUMENT))
    if document.pop("sha256") != _digest(document):
        raise DamagedError(f"{name}{DOCUMENT} does not have its sha256")
    if document["format"] != FORMAT:
        raise DamagedError(f"its format must be {FORMAT}, but is {document['format']}")
    return document


@contextmanager
def _damage_told(name: str) -> Iterator[None]:
    """Say of whatever a file of another content makes go wrong that it is damaged."""
    try:
        yield
    except FileNotFoundError as exc:
        raise DamagedError(f"a file is missing: {exc}") from exc
    except (ValueError, KeyError, AttributeError, TypeError, SafetensorError) as exc:
        raise DamagedError(f"{name}: {exc}") from exc


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(
        json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _plain(value: Any) -> Any:
    """JSON has no NaN, nor inf."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def _original(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"float"}:
            return float(value["float"])
        return {name: _original(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_original(each) for each in value]
    return value
