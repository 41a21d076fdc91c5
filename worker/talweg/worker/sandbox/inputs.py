"""What a job in the sandbox reads of the blob store: what its spec names, and nothing else.

Of a store that is a folder here, it may read those folders. Of another, the worker fetches copies
into the job's own folder, which is the job's blob store then: so it needs neither credentials nor
a network.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from talweg.blobs import Blobs, UnsafePathError, read_artifacts
from talweg.spec import job_models
from talweg.spec.stored import stored_versions
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data.stored.cache import DamagedDataError, folder_of
from talweg.worker.data.stored.opening import files_of
from talweg.worker.errors import StoreAwayError

_ANY_ATTEMPT = 2**31
_WEIGHTS = "model/weights.safetensors"


def readable(spec: JobSpec, blobs: Blobs) -> Iterator[Path]:
    """Yield the folders of a store on this machine that a job may read.

    Args:
        spec: Filled.
        blobs: The store as the job sees it.
    """
    folders = [folder_of(each.digest) for each in stored_versions(spec)]
    if spec.weights.job:
        folders.append(f"{spec.weights.job}/artifacts")
    folders += (f"{model.job}/model" for _, model in job_models(spec))
    for folder in folders:
        # What leads out of the store is not there for the job, which says so.
        with suppress(UnsafePathError):
            if (path := blobs.local(folder)) is not None:
                yield path


def fetch(spec: JobSpec, blobs: Blobs, target: Path) -> None:
    """Copy what a job reads of a store that is elsewhere into a folder, as it lies there.

    What is not there is left out: the job says so.

    Args:
        spec: Filled.
        blobs: The store.
        target: The folder.

    Raises:
        StoreAwayError: The store does not answer.
    """
    try:
        for digest in {each.digest for each in stored_versions(spec)}:
            with suppress(FileNotFoundError, DamagedDataError), files_of(blobs, digest) as folder:
                _copy(folder, target / folder_of(digest))
        for blob in _files_of_jobs(spec, blobs):
            path = target / blob
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                blobs.get(blob, path)
    except (OSError, ValueError) as exc:
        raise StoreAwayError(f"the blob store is unreachable: {exc}") from exc


def _files_of_jobs(spec: JobSpec, blobs: Blobs) -> Iterator[str]:
    if spec.weights.job:
        stored = read_artifacts(blobs, spec.weights.job, last=_ANY_ATTEMPT)
        # A list of files stands beside the folder of its part.
        for file in (each for each in stored.files if each.path == _WEIGHTS):
            yield file.blob
            yield file.blob.removesuffix(f"/{_WEIGHTS}") + ".json"
    for _, model in job_models(spec):
        folder = f"{model.job}/model"
        yield from (f"{folder}/{name}" for name in blobs.names(folder))


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a folder: the job may write to its own, and others read these."""
    target.mkdir(parents=True)
    for file in (each for each in source.iterdir() if not each.name.startswith(".")):
        shutil.copyfile(file, target / file.name)
