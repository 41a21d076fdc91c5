"""The file of weights that a job starts from: checked against its digest, and never unpickled."""

import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from talweg.blobs import Blobs, DamagedListError, is_of_one_file, read_artifacts
from talweg.spec.stored import DatasetName
from talweg.v1.weights_pb2 import StartingWeights
from talweg.worker.data.stored.cache import DamagedDataError
from talweg.worker.data.stored.opening import files_of, store
from talweg.worker.errors import StoreAwayError, UserSpecError

_OF_JOB = "model/weights.safetensors"
_OF_STORED = "data.safetensors"
_ANY_ATTEMPT = 2**31
_CHUNK = 2**20


@dataclass(frozen=True)
class WeightsFile:
    """An open file of tensors."""

    path: Path
    """A safetensors file on this machine."""
    label: str
    """Whose it is: jobs/ID, or datasets/NAME@DIGEST."""
    new_names: Mapping[str, str] = field(default_factory=dict)
    """Other names by which tensors are asked for, by their names in the file."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by its name."""
        with safe_open(self.path, framework="pt") as file:
            return {
                self.new_names.get(name, name): tuple(file.get_slice(name).get_shape())
                for name in file.keys()
            }

    def tensors(self, names: list[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield tensors, one in memory at a time."""
        in_file = {new: name for name, new in self.new_names.items()}
        with safe_open(self.path, framework="pt") as file:
            for name in names:
                yield name, file.get_tensor(in_file.get(name, name))

    def renamed(self, rename: Callable[[str], str], wanted: Collection[str]) -> "WeightsFile":
        """Return the file with other names for its tensors, where a wanted one comes of it.

        Args:
            rename: From the name in the file to the wanted one.
            wanted: The names of the model. What the file has under such a name keeps it.
        """
        in_file = self.shapes()
        new_names: dict[str, str] = {}
        for name in in_file:
            new = rename(name)
            if new in wanted and new not in in_file and new not in new_names.values():
                new_names[name] = new
        return replace(self, new_names=new_names)


@contextmanager
def opened(weights: StartingWeights) -> Iterator[WeightsFile]:
    """Give the file of a spec's starting weights.

    Args:
        weights: As the server has completed them, with the digest.

    Raises:
        UserSpecError: It is gone, damaged, or not what the digest says.
        StoreAwayError: The blob store cannot be reached now.
    """
    label = _label(weights)
    if not weights.sha256:
        raise UserSpecError(f"weights: {label} has no sha256: the server sets it at submission")
    blobs = store()
    try:
        with _file(weights, blobs) as path:
            _check(path, weights.sha256, label)
            yield WeightsFile(path, label)
    except FileNotFoundError as exc:
        raise UserSpecError(_gone(weights, label)) from exc
    except (DamagedListError, DamagedDataError, SafetensorError) as exc:
        raise _damaged(label, exc) from exc
    except OSError as exc:
        if is_of_one_file(exc):
            raise _damaged(label, exc) from exc
        raise StoreAwayError(f"the blob store is unreachable: {exc}") from exc


def _label(weights: StartingWeights) -> str:
    if weights.job:
        return weights.job
    name = DatasetName.parse(weights.stored)
    return weights.stored if name is None else str(name)


@contextmanager
def _file(weights: StartingWeights, blobs: Blobs) -> Iterator[Path]:
    if weights.job:
        yield from _of_job(weights, blobs)
        return
    name = DatasetName.parse(weights.stored)
    if name is None or not name.digest:
        raise UserSpecError(
            f"weights.stored: {weights.stored} has no digest: the server sets it at submission"
        )
    with files_of(blobs, name.digest) as folder:
        yield folder / _OF_STORED


def _of_job(weights: StartingWeights, blobs: Blobs) -> Iterator[Path]:
    stored = read_artifacts(blobs, weights.job, last=_ANY_ATTEMPT)
    files = [each for each in stored.files if each.path == _OF_JOB]
    if not files:
        raise FileNotFoundError(_OF_JOB)
    local = blobs.local(files[0].blob)
    if local is not None:
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="talweg-weights-") as folder:
        copy = Path(folder) / "weights.safetensors"
        blobs.get(files[0].blob, copy)
        yield copy


def _check(path: Path, wanted: str, label: str) -> None:
    sha = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            sha.update(chunk)
    if sha.hexdigest() != wanted:
        raise UserSpecError(
            f"weights: the file of {label} must have sha256 {wanted}, as when the job was "
            f"submitted, but has {sha.hexdigest()}: somebody has changed it in the blob store"
        )


def _gone(weights: StartingWeights, label: str) -> str:
    if weights.job:
        return (
            f"weights.job: {label} has no {_OF_JOB} in the blob store: its worker could not write "
            f"it yet, or somebody has removed it. Submit the job again once `talweg get {label} "
            "--list` shows it"
        )
    return (
        f"weights.stored: {label} is gone from the blob store. Upload the file again under this "
        "name, and submit the job again"
    )


def _damaged(label: str, exc: Exception) -> UserSpecError:
    return UserSpecError(
        f"weights: the file of {label} is damaged in the blob store: {' '.join(str(exc).split())}"
    )
