"""Files that predictions are made of, and that they are written to."""

import codecs
import csv
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from talweg.spec.local.whole_files import written_aside
from talweg.spec.stored import MISSING_TEXTS
from talweg.worker.errors import WorkerError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_MARKS = (
    # That of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The last one takes any bytes.
_ENCODINGS = ("utf-8-sig", "cp1252", "iso8859-1")
_SAMPLE = 1 << 16
_FORMATS = (*_SEPARATORS, ".parquet", ".npz")
_OF_MASKS = (".zip", ".npz")
_DETECTED = (",", ";", "\t", "|")
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_DECIMAL_COMMA = r"[+-]?[0-9]+(,[0-9]+)?"
_INPUTS = "x"
_PREDICTION, _PROBABILITIES, _PROBABILITY = "prediction", "probabilities", "probability_"

# What the readers raise for damaged files.
_DAMAGED = (ValueError, KeyError, BadZipFile, zlib.error, EOFError, NotImplementedError)


@dataclass(frozen=True)
class InputFile:
    """What a file holds."""

    inputs: Any
    """A data frame, or an array (N, …)."""
    ids: Any = None
    """The column that is copied, as a series or an array, under its name; None without."""
    names: pd.Index | None = None
    """What the samples are called, where they are files of their own; else None."""


def read(
    path: Path,
    *,
    id_column: str = "",
    usual_id: str = "",
    texts: Collection[str] = (),
    missing: Collection[str] = (),
    columns: Collection[str] = (),
) -> InputFile:
    """Read a table or an array. Of a CSV file delimiter and encoding are detected.

    Args:
        path: A .csv, .tsv, .parquet or .npz file; of an npz file `x` is read, or its only array.
        id_column: The column, or the array, to copy.
        usual_id: The column of a table to copy if no other is named and the file has it.
        texts: Columns that hold categories: their values are text, whatever they look like, as
            they were when the data were uploaded. 007 stays 007.
        missing: Texts of CSV that mean a missing value; the usual ones where there are none.
        columns: That the model takes, by which delimiters of CSV are told.

    Raises:
        ValueError: The format is unknown, the file cannot be read, or the column is not there.
        OSError: The file cannot be opened.
    """
    ending = _ending(path, "read")
    try:
        if ending == ".npz":
            return _read_npz(path, id_column)
        if ending == ".parquet":
            frame = pd.read_parquet(path)
            # An index with a name was a column when such a file was uploaded.
            present = {None, *frame.columns}
            named = [name for name in frame.index.names if name not in present]
            frame = frame.reset_index(level=named) if named else frame
        else:
            known = {*texts, id_column, usual_id}
            frame = _read_csv(path, ending, known, missing or MISSING_TEXTS, columns)
    except (*_DAMAGED, OSError) as exc:
        if isinstance(
            exc, (MissingIdError, FileNotFoundError, PermissionError, IsADirectoryError)
        ):
            raise
        raise ValueError(f"{path} cannot be read as {ending[1:]}: {exc}") from exc
    if not id_column and usual_id in frame.columns:
        id_column = usual_id
    if not id_column:
        return InputFile(frame)
    if id_column not in frame.columns:
        raise MissingIdError(path, id_column, map(str, frame.columns))
    return InputFile(frame.drop(columns=[id_column]), frame[id_column])


def _read_csv(
    path: Path,
    ending: str,
    texts: Collection[str],
    missing: Collection[str],
    columns: Collection[str],
) -> pd.DataFrame:
    encoding = _encoding(path)
    # The uploaded file may have been separated in another way than this one.
    with path.open(encoding=encoding, newline="") as file:
        line = next((line for line in file if line.strip()), "")
    separator = _separator(line, ending, columns)
    quote = _quote(line, separator)
    names = _check_rows(path, encoding, separator, quote)
    frame = pd.read_csv(
        path,
        sep=separator,
        quotechar=quote,
        encoding=encoding,
        index_col=False,
        names=names or None,
        header=0,
        dtype={name: str for name in texts if name in names},
        keep_default_na=False,
        na_values=["", *missing],
    )
    for name in frame.columns:
        if name in texts or pd.api.types.is_string_dtype(frame[name]):
            column = frame[name].str.strip()
            column = column.mask(column.isin(["", *missing]))
            frame[name] = column if name in texts else _with_numbers(column, separator != ",")
    return frame


def _separator(line: str, ending: str, columns: Collection[str]) -> str:
    """Return the separator by which a header has most of the model's columns.

    Args:
        line: The header.
        ending: Of the file's name, whose separator is taken where others do not do better.
        columns: That the model takes.
    """
    usual = _SEPARATORS[ending]

    def fit(separator: str) -> tuple[int, bool, int]:
        names = {name.strip().strip("'") for name in _fields(line, separator)}
        is_there = separator in line
        return len(names & set(columns)), is_there and separator == usual, line.count(separator)

    return max(_DETECTED, key=fit) if line else usual


def _quote(line: str, separator: str) -> str:
    """Return the quotation mark: the single one where it stands around every name."""
    names = [name.strip() for name in _fields(line, separator)]
    is_single = len(names) > 1 and all(
        len(name) > 1 and name[0] == name[-1] == "'" for name in names
    )
    return "'" if is_single else '"'


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        # A field is too long for a name: the line has another separator.
        return [line]


def _check_rows(path: Path, encoding: str, separator: str, quote: str) -> list[str]:
    """Check that each row has as many values as the header, as it must when data are uploaded.

    Pandas would take the first column of longer rows for their names, and move the others.

    Returns:
        The names, without spaces around them.

    Raises:
        ValueError: A row has not.
    """
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=separator, quotechar=quote)
        try:
            names = [name.strip() for name in next((row for row in reader if row), [])]
            number = 0
            for row in reader:
                # Lines of spaces are blank ones, also to pandas.
                if not row or (len(row) == 1 < len(names) and not row[0].strip()):
                    continue
                number += 1
                if len(row) != len(names):
                    raise ValueError(
                        f"row {number} has {len(row)} values, but the header has {len(names)}; "
                        f'put values that hold "{separator}" into quotes'
                    )
        except csv.Error as exc:
            raise ValueError(str(exc)) from exc
    return names


def _with_numbers(column: "pd.Series[Any]", decimal_comma: bool) -> "pd.Series[Any]":
    """Read numbers that pandas takes for texts: those with spaces, and with decimal commas.

    They are read when data are uploaded. A column with other texts is left alone.
    """
    present = column.dropna()
    if len(present) and present.str.fullmatch(_NUMBER).all():
        return pd.to_numeric(column)
    if decimal_comma and len(present) and present.str.fullmatch(_DECIMAL_COMMA).all():
        return pd.to_numeric(column.str.replace(",", ".", regex=False))
    return column


def _encoding(path: Path) -> str:
    """Detect the encoding of a text file, as it is detected when data are uploaded."""
    content = path.read_bytes()
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    # Every other byte of Western text in UTF-16 is 0.
    sample = content[:_SAMPLE]
    half = max(1, len(sample) // 2)
    first, second = (sample[start::2].count(0) / half for start in (0, 1))
    if max(first, second) > 0.7 and min(first, second) < 0.1:
        return "utf-16-le" if second > first else "utf-16-be"
    for encoding in _ENCODINGS[:-1]:
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return _ENCODINGS[-1]


class MissingIdError(WorkerError, ValueError):
    """The column to copy is not in the file."""

    def __init__(self, path: Path, name: str, present: Any) -> None:
        """Name what is there."""
        super().__init__(f"{path} has no {name!r} to copy: it has {', '.join(present)}")


def check_target(path: Path, *, masks: bool = False) -> None:
    """Refuse a file of unknown format before anything is computed.

    Args:
        path: The file.
        masks: Whether masks of pictures are to be written.

    Raises:
        ValueError: The format is unknown, or does not hold what is to be written.
    """
    ending = path.suffix.lower()
    if masks and ending not in _OF_MASKS:
        raise ValueError(
            f"{path}: masks of pictures are written to {' or '.join(_OF_MASKS)}, but got "
            f"{ending or 'no ending'}"
        )
    if not masks:
        _ending(path, "write")


def write(predictions: Any, path: Path, *, ids: Any = None) -> None:
    """Write predictions, so that the file is there whole or not at all.

    Args:
        predictions: A data frame, or an array of more than two dimensions.
        path: A .csv, .tsv, .parquet or .npz file.
        ids: What is copied: the first column, or an array of its own.

    Raises:
        ValueError: A table cannot hold such predictions.
        OSError: It cannot be written.
    """
    ending = _ending(path, "write")
    is_table = isinstance(predictions, pd.DataFrame)
    if not is_table and ending != ".npz":
        raise ValueError(
            f"predictions of the shape {predictions.shape} do not fit into a table: write them to "
            "a .npz file"
        )
    with written_aside(path, ending=ending) as aside:
        if ending == ".npz":
            arrays = _arrays(predictions)
            if ids is not None:
                arrays = {_name(ids): _plain(ids), **arrays}
            np.savez_compressed(aside, **arrays)
        else:
            frame = predictions
            if ids is not None:
                frame = predictions.copy()
                frame.insert(0, _name(ids), np.asarray(ids))
            if ending == ".parquet":
                frame.to_parquet(aside, index=False)
            else:
                frame.to_csv(aside, index=False, sep=_SEPARATORS[ending], lineterminator="\n")


def text_columns(predictions: Any, ids: Any = None) -> tuple[str, ...]:
    """Return the names of the columns that hold texts, whatever these look like.

    Args:
        predictions: A data frame; arrays have no columns.
        ids: The column that is copied; None without.
    """
    if not isinstance(predictions, pd.DataFrame):
        return ()
    names = [str(n) for n in predictions if not pd.api.types.is_numeric_dtype(predictions[n])]
    if ids is not None and not pd.api.types.is_numeric_dtype(ids):
        names.insert(0, _name(ids))
    return tuple(names)


def _ending(path: Path, what: str) -> str:
    ending = path.suffix.lower()
    if ending not in _FORMATS:
        raise ValueError(
            f"{path}: predict can {what} {', '.join(_FORMATS)}"
            f"{', a picture, a folder or a .zip of pictures' if what == 'read' else ''}, but got "
            f"{ending or 'no ending'}"
        )
    return ending


def _read_npz(path: Path, id_column: str) -> InputFile:
    # NumPy would leave the file open where it is damaged.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        names = list(file.files)
        if id_column and id_column not in names:
            raise MissingIdError(path, id_column, names)
        others = [name for name in names if name != id_column]
        chosen = _INPUTS if _INPUTS in others else others[0] if len(others) == 1 else ""
        if not chosen:
            raise ValueError(
                f"it holds the arrays {', '.join(names) or 'none'}: the inputs must be named "
                f"{_INPUTS}, or be the only array"
            )
        ids = pd.Series(file[id_column], name=id_column) if id_column else None
        return InputFile(file[chosen], ids)


def _arrays(predictions: Any) -> dict[str, Any]:
    """Return predictions as arrays: the probabilities of all classes in one."""
    if not isinstance(predictions, pd.DataFrame):
        return {_PREDICTION: predictions}
    of_classes = [name for name in predictions if str(name).startswith(_PROBABILITY)]
    arrays = {
        str(name): _plain(predictions[name]) for name in predictions if name not in of_classes
    }
    if of_classes:
        arrays[_PROBABILITIES] = predictions[of_classes].to_numpy()
        arrays["classes"] = np.array([str(name).removeprefix(_PROBABILITY) for name in of_classes])
    return arrays


def _plain(values: Any) -> Any:
    """Return an array without objects, which only pickles could hold."""
    array = np.asarray(values)
    return array.astype(str) if array.dtype == object else array


def _name(ids: Any) -> str:
    return str(ids.name)
