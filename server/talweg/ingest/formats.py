"""Which reader reads a file: by the options, else by its ending, checked by its first bytes."""

import tarfile
from collections.abc import Callable
from pathlib import PurePath

from talweg.ingest.arrays.npy import read_numpy
from talweg.ingest.arrays.safetensors_file import read_safetensors
from talweg.ingest.arrays.weights_file import holds_weights, read_weights
from talweg.ingest.images.folder import read_images
from talweg.ingest.problems import Problem, Refused, quoted
from talweg.ingest.request import Content, Request
from talweg.ingest.tables.arrow_files import read_arrow, read_parquet
from talweg.ingest.tables.csv_file import read_csv
from talweg.ingest.tables.parts import FORMATS, holds_parts, read_parts
from talweg.v1.datasets_pb2 import ReadOptions

Reader = Callable[[Request], Content]

_READERS: dict[int, Reader] = {
    ReadOptions.csv: read_csv,
    ReadOptions.parquet: read_parquet,
    ReadOptions.arrow: read_arrow,
    ReadOptions.numpy: read_numpy,
    ReadOptions.safetensors: read_safetensors,
    ReadOptions.images: read_images,
    ReadOptions.webdataset: read_images,
    ReadOptions.weights: read_weights,
}
_BY_ENDING = {
    **FORMATS,
    ".txt": ReadOptions.csv,
    ".npz": ReadOptions.numpy,
    ".npy": ReadOptions.numpy,
    ".safetensors": ReadOptions.safetensors,
    ".tar": ReadOptions.images,
}
_LONGEST_MAGIC = 16
# What a file begins with, where that tells; and which readers read it.
_MAGIC: tuple[tuple[bytes, str, frozenset[int]], ...] = (
    (b"PAR1", "a Parquet file", frozenset({ReadOptions.parquet})),
    (b"ARROW1", "an Arrow file", frozenset({ReadOptions.arrow})),
    (b"FEA1", "a Feather file", frozenset({ReadOptions.arrow})),
    (b"\x93NUMPY", "an array of NumPy", frozenset({ReadOptions.numpy})),
    (b"PK\x03\x04", "a zip archive", frozenset({ReadOptions.numpy})),
    (b"PK\x05\x06", "an empty zip archive", frozenset()),
    (b"\x1f\x8b", "a gzip file", frozenset()),
    (b"BZh", "a bzip2 file", frozenset()),
    (b"\xfd7zXZ", "an xz file", frozenset()),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", frozenset()),
    (b"\x89PNG", "a PNG image", frozenset()),
    (b"\xff\xd8\xff", "a JPEG image", frozenset()),
    (b"GIF8", "a GIF image", frozenset()),
    (b"%PDF", "a PDF document", frozenset()),
    (b"\x89HDF", "an HDF5 file", frozenset()),
    (b"SQLite format 3", "an SQLite database", frozenset()),
    (b"\xd0\xcf\x11\xe0", "an Excel or Word document", frozenset()),
)  # fmt: skip
_HINTS = {
    "a zip archive": "an Excel file (.xlsx) is one too: save the sheet as CSV",
    "an Excel or Word document": "save the sheet as CSV",
    "a PNG image": "send a folder of images",
    "a JPEG image": "send a folder of images",
    "a GIF image": "send a folder of images",
}
_UNPACK, _SHEET = "unpack it", "save the sheet as CSV"
_AS_TABLE, _AS_ARRAYS = "write it as CSV or Parquet", "write the arrays as .npz or .safetensors"
# What to do with files that another name does not help.
_OF_ENDINGS = {
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tgz"), _UNPACK),
    ".zip": "unpack it; of pictures, send the folder",
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"), _SHEET),
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".xml", ".html", ".sqlite", ".db"), _AS_TABLE),
    **dict.fromkeys((".orc", ".avro", ".dta", ".sav", ".sas7bdat", ".rds", ".rdata"), _AS_TABLE),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), f"{_AS_TABLE}, or the arrays as .npz"),
    **dict.fromkeys((".h5", ".hdf5", ".mat", ".pt", ".pth"), _AS_ARRAYS),
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        "send a folder of images",
    ),
}


def reader_of(request: Request) -> Reader:
    """Choose the reader of a file.

    Raises:
        Refused: Its ending is none that is known, or its content is of another format.
    """
    chosen = request.options.format
    if chosen == ReadOptions.detect:
        ending = PurePath(request.file_name).suffix.lower()
        if ending not in _BY_ENDING:
            raise Refused(
                Problem(
                    request.file_name,
                    f"the ending {quoted(ending)}" if ending else "a name without an ending",
                    ", ".join(_BY_ENDING),
                    _OF_ENDINGS.get(ending)
                    or "rename the file, or say by the option format what it is",
                )
            )
        chosen = _BY_ENDING[ending]
        if ending == ".tar" and _holds_arrays(request):
            chosen = ReadOptions.numpy
        elif ending == ".tar" and holds_parts(request):
            return read_parts
        if chosen == ReadOptions.safetensors and holds_weights(request):
            chosen = ReadOptions.weights
    elif chosen in FORMATS.values() and tarfile.is_tarfile(request.path) and holds_parts(request):
        return read_parts
    _check_content(request, chosen)
    return _READERS[chosen]


def _check_content(request: Request, chosen: ReadOptions.Format.ValueType) -> None:
    with request.path.open("rb") as file:
        start = file.read(_LONGEST_MAGIC)
    if not start:
        raise Refused(Problem(request.file_name, "an empty file", "a file with data"))
    for magic, what, readers in _MAGIC:
        if start.startswith(magic) and chosen not in readers:
            name = ReadOptions.Format.Name(chosen)
            hint = _HINTS.get(what, "unpack it" if not readers else "give it the ending of that")
            raise Refused(
                Problem(request.file_name, f"{what}, by its first bytes", f"a {name} file", hint)
            )
    if chosen == ReadOptions.parquet and not start.startswith(b"PAR1"):
        found = "content that does not begin as a Parquet file does"
        raise Refused(Problem(request.file_name, found, "a Parquet file", "write it again"))


def _holds_arrays(request: Request) -> bool:
    try:
        with tarfile.open(request.path, "r:") as archive:
            first = next((member for member in archive if member.isreg()), None)
    except tarfile.TarError:
        return False
    return first is not None and first.name.endswith(".npy")
