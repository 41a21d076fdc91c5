"""Files of weights as a blob store has them: of jobs, and of uploads."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from talweg.blobs import TRAINING, Blobs, write_artifacts


def kept_by_job(model: nn.Module | Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """Keep a model as its job does, and return what stands in a spec for it."""
    content = save(_plain(model))
    write_artifacts(_blobs(), f"jobs/{name}", 1, TRAINING, {"model/weights.safetensors": content})
    return {"job": f"jobs/{name}", "sha256": hashlib.sha256(content).hexdigest()}


def uploaded(model: nn.Module | Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """Keep a model as an upload is stored, and return what stands in a spec for it."""
    content = save(_plain(model))
    sha256 = hashlib.sha256(content).hexdigest()
    # Of its own: the digest of a version also covers how the file was read.
    digest = hashlib.sha256(content + b"weights").hexdigest()
    _blobs().write(f"datasets/{digest}/data.safetensors", content)
    return {"stored": f"{name}@{digest}", "sha256": sha256}


def _plain(model: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = model.state_dict() if isinstance(model, nn.Module) else model
    return {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}


def _blobs() -> Blobs:
    return Blobs(os.environ["TALWEG_BLOBS"])
