"""Trained models in the blob store, from which losses of other jobs take features.

A model is one file, `jobs/ID/model/SHA256.safetensors`: its weights, and in the file's metadata,
as `model`, what `model.json` says of it. It is named by its digest, so that it cannot be changed
unseen, and two attempts at a job do not write over each other.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from talweg.blobs import Blobs, is_of_one_file
from talweg.spec import is_sha256, job_id
from talweg.worker.errors import NoModelError

_ENDING = ".safetensors"
_METADATA = "model"
_HEADER_SIZE = struct.Struct("<Q")


@dataclass(frozen=True)
class KeptModel:
    """A model as it was read."""

    description: Mapping[str, Any]
    """What `model.json` holds."""
    weights: Mapping[str, Tensor]
    """By their names in the network; those of the loss begin with `loss.`."""


def write(
    blobs: Blobs, job: str, weights: Mapping[str, Tensor], description: Mapping[str, Any]
) -> str:
    """Keep a job's model.

    Args:
        blobs: The store.
        job: `jobs/ID`.
        weights: On any device.
        description: What `model.json` holds: JSON values.

    Returns:
        The file's sha256.

    Raises:
        OSError: It cannot be written.
    """
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    text = json.dumps(description, sort_keys=True, allow_nan=False)
    content = safetensors.torch.save(plain, metadata={_METADATA: text})
    digest = hashlib.sha256(content).hexdigest()
    blobs.write(f"{_folder(job)}/{digest}{_ENDING}", content)
    return digest


def read(blobs: Blobs, job: str, digest: str = "") -> KeptModel:
    """Read a job's model.

    Args:
        blobs: The store.
        job: `jobs/ID`.
        digest: The file's sha256; empty where the job has kept but one.

    Raises:
        NoModelError: It is not there, or not whole or readable, or job and digest cannot name one.
        OSError: The store does not answer.
    """
    try:
        folder = _folder(job)
        digest = digest or _only_digest(blobs, job)
        if not is_sha256(digest):
            raise NoModelError(f"sha256 must be 64 hexadecimal digits, but got {digest[:100]!a}")
        content = blobs.read(f"{folder}/{digest}{_ENDING}")
    except ValueError as exc:  # An UnsafePathError too: no waiting mends a name.
        raise NoModelError(str(exc)) from exc
    except FileNotFoundError as exc:
        raise NoModelError(f"{job} has kept no model with sha256 {digest}") from exc
    except OSError as exc:
        if not is_of_one_file(exc):
            raise
        # Raises where it is the store that is away.
        blobs.names(folder)
        raise NoModelError(f"the model of {job} cannot be read: {exc}") from exc
    actual = hashlib.sha256(content).hexdigest()
    if actual != digest:
        raise NoModelError(f"the model of {job} must have sha256 {digest}, but has {actual}")
    try:
        (size,) = _HEADER_SIZE.unpack_from(content)
        header = json.loads(content[_HEADER_SIZE.size : _HEADER_SIZE.size + size])
        description = json.loads(header["__metadata__"][_METADATA])
        return KeptModel(description, safetensors.torch.load(content))
    except (ValueError, KeyError, TypeError, struct.error, SafetensorError) as exc:
        raise NoModelError(f"the model of {job} cannot be read: {exc}") from exc


def _only_digest(blobs: Blobs, job: str) -> str:
    """Return the digest of a job's only model."""
    names = (name.removesuffix(_ENDING) for name in blobs.names(_folder(job)))
    digests = [name for name in names if is_sha256(name)]
    if len(digests) != 1:
        raise NoModelError(f"{job} has kept {len(digests)} models and sha256 names none")
    return digests[0]


def _folder(job: str) -> str:
    return f"jobs/{job_id(job)}/model"
