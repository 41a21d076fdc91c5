"""What can be uploaded: files, folders of images, data frames and arrays, as a file on disk."""

import hashlib
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talweg.client._errors import InvalidRequest
from talweg.spec.stored import is_dataset_name
from talweg.spec.stored.files import is_junk

_BLOCK = 1024 * 1024
_MAX_NAME = 100
_ARRAY_MODULE = "numpy"


@dataclass(frozen=True)
class Source:
    """A file that is ready to be sent."""

    path: Path
    """Where it lies."""
    file_name: str
    """What it is called, by which the server sees its format."""
    num_bytes: int
    """Its size."""
    sha256: str
    """Of its bytes, in hexadecimal."""


@contextmanager
def source_of(data: object) -> Iterator[Source]:
    """Make a file of what is to be uploaded; a temporary one is removed afterwards.

    Args:
        data: The path of a file or of a folder of images; a data frame (pandas or polars); a NumPy
            array or a mapping of arrays by name.

    Raises:
        OSError: The file cannot be read.
        InvalidRequest: This is nothing that can be uploaded.
    """
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        if path.is_dir():
            with _temporary(".tar") as packed:
                _pack(path, packed)
                yield _source(packed, f"{path.resolve().name}.tar")
        else:
            yield _source(path, path.name)
        return
    with _temporary("") as file:
        yield _source(file, f"data{_write(data, file)}")


def default_name(data: object) -> str:
    """Return a name for a data set: the file's, without its ending and unusual characters.

    Raises:
        InvalidRequest: It has none, or nothing of it can stay.
    """
    if not isinstance(data, (str, os.PathLike)):
        raise InvalidRequest("a data set from memory needs a name: upload(frame, name='houses')")
    path = Path(data)
    stem = path.resolve().name if path.is_dir() else path.stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:_MAX_NAME]
    if not is_dataset_name(name):
        raise InvalidRequest(f"no name can be made of {path.name!r}: give one with name=…")
    return name


def _source(path: Path, file_name: str) -> Source:
    """Describe a file.

    Raises:
        InvalidRequest: It is none.
    """
    digest = hashlib.sha256()
    if not stat.S_ISREG(path.stat().st_mode):
        # A pipe can be read once only, and a device has no end.
        raise InvalidRequest(f"{path} is a pipe or a device: write it to a file first")
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
        size = file.tell()
    return Source(path, file_name, size, digest.hexdigest())


@contextmanager
def _temporary(suffix: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="talweg-") as folder:
        yield Path(folder) / f"data{suffix}"


def _pack(folder: Path, target: Path) -> None:
    """Pack a folder, always the same way: the same files give the same bytes.

    Raises:
        InvalidRequest: It holds no files, or a link that leads out of it.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not is_junk(path.relative_to(folder).parts)
    )
    if not files:
        raise InvalidRequest(f"the folder {folder} holds no files")
    root = folder.resolve()
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in files:
            if not path.resolve().is_relative_to(root):
                raise InvalidRequest(f"{path} is a link that leads out of {folder}: copy the file")
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(info, file)


def _write(data: object, file: Path) -> str:
    """Write a value of Python to a file; return the ending of its format.

    Raises:
        InvalidRequest: It is no frame and no arrays.
    """
    if hasattr(data, "to_parquet") and hasattr(data, "to_csv"):
        try:
            return _write_pandas(data, file)
        except (ValueError, TypeError) as exc:
            # It names the column.
            text = " ".join(map(str, exc.args)) or type(exc).__name__
            raise InvalidRequest(
                f"the data frame cannot be written as Parquet: {text}. Give each column a name, "
                "and values of one type, such as by astype(str)"
            ) from exc
    if hasattr(data, "write_parquet"):
        data.write_parquet(file)
        return ".parquet"
    arrays = {"x": data} if _is_array(data) else data
    if isinstance(arrays, Mapping) and arrays and all(map(_is_array, arrays.values())):
        import numpy as np

        objects = [str(name) for name, array in arrays.items() if array.dtype.hasobject]
        if objects:
            raise InvalidRequest(
                f"the arrays {', '.join(objects)} hold Python objects, which only pickles can: "
                "give numbers, or texts as dtype U"
            )
        with file.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **{str(name): arrays[name] for name in arrays})
        return ".npz"
    found = type(data).__name__
    if isinstance(data, Mapping):
        others = [
            f"{name!r}, a {type(v).__name__}" for name, v in data.items() if not _is_array(v)
        ]
        found += f" with {', '.join(others[:5])}" if others else " without any"
    raise InvalidRequest(
        "upload takes the path of a file or folder, a data frame, or NumPy arrays by name, but "
        f"got {found}"
    )


def _write_pandas(frame: Any, file: Path) -> str:
    if frame.index.name is not None or frame.index.nlevels > 1:
        # An index with a name is data; the plain numbering of rows is not.
        frame = frame.reset_index()
    try:
        frame.to_parquet(file, index=False)
    except ImportError:
        frame.to_csv(file, index=False)
        return ".csv"
    return ".parquet"


def _is_array(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == _ARRAY_MODULE and hasattr(value, "dtype")
