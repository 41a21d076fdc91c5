"""Which reader reads a file: by the options, else by its ending, checked by its first bytes."""

from collections.abc import Callable
from pathlib import PurePath

from talweg.ingest.problems import Problem, Refused, quoted
from talweg.ingest.request import Content, Request
from talweg.ingest.tables.csv_file import read_csv
from talweg.v1.datasets_pb2 import ReadOptions

Reader = Callable[[Request], Content]

_READERS: dict[int, Reader] = {ReadOptions.csv: read_csv}
_BY_ENDING = {
    ".csv": ReadOptions.csv,
    ".tsv": ReadOptions.csv,
    ".tab": ReadOptions.csv,
    ".txt": ReadOptions.csv,
}


def reader_of(request: Request) -> Reader:
    """Choose the reader of a file.

    Raises:
        Refused: Its ending is none that is known.
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
                    "rename the file, or say what it is by the option format",
                )
            )
        chosen = _BY_ENDING[ending]
    return _READERS[chosen]
