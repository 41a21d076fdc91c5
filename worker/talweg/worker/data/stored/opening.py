"""From a job's spec to the stored data set that it names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.json_format import Parse, ParseError

from talweg.blobs import Blobs, is_of_one_file
from talweg.spec.local.room import is_full
from talweg.spec.stored import dataset_label
from talweg.v1.datasets_pb2 import StoredData
from talweg.v1.stored_datasets_pb2 import StoredDataset
from talweg.worker.data.stored.cache import (
    INFO,
    DamagedDataError,
    DataCache,
    check_data,
    folder_of,
)
from talweg.worker.data.stored.columns import Columns, open_columns
from talweg.worker.errors import StoreAwayError, UserSpecError
from talweg.worker.settings import Settings
from talweg.worker.storage import job_store

_FIELD = "dataset.stored.name"


@dataclass(frozen=True)
class OpenedDataset:
    """A stored data set, ready to be read."""

    info: StoredDataset
    """Its description, with all its columns."""
    columns: Columns
    """What it holds."""


def open_dataset(source: StoredData) -> OpenedDataset:
    """Open the data set that a job reads, from TALWEG_BLOBS or the cache of this machine.

    Raises:
        UserSpecError: It is gone, or damaged.
        StoreAwayError: The blob store cannot be reached now.
    """
    label = dataset_label(source)
    if not source.digest:
        raise UserSpecError(f"{_FIELD}: {label} has no digest: the server sets it at submission")
    blobs = store()
    try:
        with files_of(blobs, source.digest) as folder:
            info = _info(folder)
            if folder == blobs.local(folder_of(source.digest)):
                # A copy of this machine was checked when it was fetched.
                check_data(folder, info.data_sha256)
            return OpenedDataset(info, open_columns(folder, info.columns))
    except FileNotFoundError as exc:
        raise UserSpecError(
            f"{_FIELD}: data set {label} is gone from the store: it was deleted after the job was "
            "submitted. Upload the file again under this name, and submit the job again"
        ) from exc
    except (DamagedDataError, ValueError) as exc:
        raise _damaged(label, exc) from exc
    except OSError as exc:
        if is_of_one_file(exc):
            raise _damaged(label, exc) from exc
        raise StoreAwayError(f"the blob store is unreachable: {exc}") from exc


def _damaged(label: str, exc: Exception) -> UserSpecError:
    return UserSpecError(
        f"{_FIELD}: data set {label} is damaged in the store: {' '.join(str(exc).split())}. "
        "Delete it, upload the file again, and submit the job again"
    )


def store() -> Blobs:
    """Return the blob store that TALWEG_BLOBS names, as the job of this thread sees it.

    Raises:
        StoreAwayError: It cannot be used here.
    """
    try:
        return job_store.current().open(Settings.from_env().blobs)
    except (OSError, ImportError, ValueError) as exc:
        raise StoreAwayError(f"the blob store cannot be used: {exc}") from exc


@contextmanager
def files_of(blobs: Blobs, digest: str) -> Iterator[Path]:
    """Give the folder with a data set's files, where they are or as a copy of this machine.

    Raises:
        FileNotFoundError: There is no such data set.
        DamagedDataError: It is not what was stored.
        StoreAwayError: The store, or the folder of copies, cannot be used now.
        OSError: The store does not answer.
    """
    settings = Settings.from_env()
    cache = DataCache(settings.data_cache, settings.data_cache_bytes)
    local = blobs.local(folder_of(digest))
    if local is None:
        try:
            project = job_store.current().project
            with cache.opened(
                blobs, digest, lambda folder: _info(folder).data_sha256, project=project
            ) as folder:
                yield folder
        except OSError as exc:
            if is_full(exc) or _is_below(cache.folder, exc.filename):
                raise StoreAwayError(
                    f"copies of data cannot be kept in {cache.folder}: {exc}. Make room there, or "
                    "set TALWEG_DATA_CACHE to a folder that the worker may write to"
                ) from exc
            raise
        return
    if blobs.folder is not None and not blobs.folder.is_dir():
        # The store itself, such as a disk that is not mounted.
        raise StoreAwayError(f"the blob store {blobs.folder} is not there")
    yield local


def _is_below(folder: Path, name: object) -> bool:
    return isinstance(name, str) and Path(name).is_relative_to(folder)


def _info(folder: Path) -> StoredDataset:
    try:
        text = (folder / INFO).read_text(encoding="utf-8")
        return Parse(text, StoredDataset(), ignore_unknown_fields=True)
    except (ParseError, UnicodeDecodeError) as exc:
        raise DamagedDataError(f"{INFO} cannot be read: {exc}") from exc
