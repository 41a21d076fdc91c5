"""NumPy's files: .npy, .npz, and several .npy in a .tar. Nothing is ever unpickled."""

import math
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from talweg.ingest.arrays.canonical import Array, content_of, refuse_dtype
from talweg.ingest.problems import Problem, Refused, quoted
from talweg.ingest.request import Content, Request
from talweg.ingest.tar_members import members_of
from talweg.v1.datasets_pb2 import ReadOptions

_MOST_ENTRIES = 1000
_ENDING = ".npy"
_ENCRYPTED = 0x1
# Beside these, zip files may be compressed in ways that take much memory.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PIECE = 1 << 24


def read_numpy(request: Request) -> Content:
    """Read arrays of NumPy.

    Raises:
        Refused: They cannot be stored; names arrays.
    """
    options = ReadOptions()
    options.CopyFrom(request.options)
    options.format = ReadOptions.numpy
    with request.path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x93NUMPY"):
        with request.path.open("rb") as file:
            pairs = [("x", _read_array("x", file, request.num_bytes, request.room))]
    elif magic.startswith(b"PK"):
        pairs = list(_of_zip(request))
    elif tarfile.is_tarfile(request.path):
        pairs = list(_of_tar(request))
    else:
        raise Refused(
            Problem(
                request.file_name,
                f"content that begins with {magic[:4].hex(' ') or 'nothing'}",
                "what numpy.save or numpy.savez writes",
                "give the file the ending of its format",
            )
        )
    doubles = [name for name, number in Counter(name for name, _ in pairs).items() if number > 1]
    if doubles:
        raise Refused(
            *(
                Problem(f"array {quoted(name)}", "several arrays of this name", "one per name")
                for name in doubles
            )
        )
    return content_of(dict(pairs), options, request.file_name)


def _of_zip(request: Request) -> Iterator[tuple[str, Array]]:
    with zipfile.ZipFile(request.path) as archive:
        entries = archive.infolist()
        _check_entries(request, [(e.filename, e.file_size) for e in entries])
        for entry in entries:
            if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _COMPRESSIONS:
                raise Refused(
                    Problem(
                        f"array {quoted(entry.filename)}",
                        "an entry that is encrypted, or compressed in another way than NumPy does",
                        "what numpy.savez or numpy.savez_compressed writes",
                    )
                )
            name = entry.filename.removesuffix(_ENDING)
            with archive.open(entry) as file:
                yield name, _read_array(name, file, entry.file_size, request.room)


def _of_tar(request: Request) -> Iterator[tuple[str, Array]]:
    with tarfile.open(request.path, "r:") as archive:
        members = [each for each in members_of(archive, request) if not each.isdir()]
        _check_entries(request, [(m.name, m.size) for m in members])
        for member in members:
            if not member.isreg():
                raise Refused(
                    Problem(quoted(member.name), "a link or device", "files that hold arrays")
                )
            name = member.name.rpartition("/")[2].removesuffix(_ENDING)
            with _extracted(archive, member) as file:
                yield name, _read_array(name, file, member.size, request.room)


@contextmanager
def _extracted(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[IO[bytes]]:
    file = archive.extractfile(member)
    assert file is not None
    with file:
        yield file


def _check_entries(request: Request, entries: list[tuple[str, int]]) -> None:
    """Refuse what the archive itself says is too much, before anything of it is read."""
    problems = [
        Problem(quoted(name), "a file that is no array", "files that end in .npy")
        for name, _ in entries
        if not name.endswith(_ENDING)
    ]
    if len(entries) > _MOST_ENTRIES:
        problems = [
            Problem(request.file_name, f"{len(entries):,} arrays", f"at most {_MOST_ENTRIES:,}")
        ]
    total = sum(size for _, size in entries)
    if total > request.room:
        problems.append(_too_large(request.file_name, total, request.room))
    if problems:
        raise Refused(*problems)


def _too_large(place: str, size: int, room: int) -> Problem:
    return Problem(
        place,
        f"{size:,} bytes once it is unpacked",
        f"at most {room:,}",
        "divide it, or have TALWEG_INGEST_MEMORY_BYTES raised",
    )


def _read_array(name: str, file: IO[bytes], size: int, room: int) -> Array:
    """Read one array whose header fits its size."""
    place = f"array {quoted(name)}"
    try:
        version = np.lib.format.read_magic(file)
        read: Any = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"its format has the version {version}")
        shape, is_fortran, dtype = read(file)
    except (ValueError, EOFError, SyntaxError) as exc:
        raise Refused(
            Problem(place, f"a header that cannot be read: {str(exc)[:200]}", "an array of NumPy")
        ) from exc
    refuse_dtype(name, dtype)
    expected = math.prod(shape) * dtype.itemsize
    if expected > room:
        raise Refused(_too_large(place, expected, room))
    present = size - file.tell()
    if expected != present:
        raise Refused(
            Problem(
                place,
                f"{present:,} bytes of values",
                f"{expected:,}, as its shape {tuple(shape)} and its type {dtype} say",
                "the file may be cut off: write it again",
            )
        )
    content = bytearray(expected)
    view, position = memoryview(content), 0
    while position < expected:
        piece = file.read(min(_PIECE, expected - position))
        if not piece:
            raise Refused(
                Problem(place, f"{position:,} bytes of values", f"{expected:,}", "write it again")
            )
        view[position : position + len(piece)] = piece
        position += len(piece)
    flat: Array = np.frombuffer(content, dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")
