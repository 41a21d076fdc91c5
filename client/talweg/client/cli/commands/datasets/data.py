"""`talweg data`: data sets of your own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from talweg.client.cli._common import (
    Session,
    ago,
    confirm,
    console,
    json_option,
    note,
    print_json,
    say,
)
from talweg.client.cli.tables import Column, fitted

if TYPE_CHECKING:
    from talweg.client import StoredDataset
    from talweg.client.data import Progress
    from talweg.v1.stored_datasets_pb2 import DataColumn

_BARS = "▁▂▃▄▅▆▇█"
_MOST_VALUES = 5
_BYTES = ("B", "kB", "MB", "GB", "TB")
_NAME = click.argument("name", metavar="NAME[@DIGEST]")


@click.group()
def data() -> None:
    """Upload data sets of your own, and look at them.

    A job reads them by `dataset: {stored: {name: NAME, target: COLUMN}}`. Weights of a model are
    stored here too, for `weights: {stored: NAME}`.
    """


@data.command()
@click.argument("file", metavar="FILE", type=click.Path(exists=True))
@click.option("--name", help="Its name; that of the file without its ending if absent.")
@click.option(
    "--format", help="csv, parquet, arrow, numpy, safetensors, images, webdataset or weights."
)
@click.option("--delimiter", metavar="CHARACTER", help="Between the fields of CSV.")
@click.option("--encoding", help="Of CSV, such as utf-8, latin-1 or utf-16.")
@click.option("--missing", multiple=True, metavar="TEXT", help="A missing value in CSV.")
@click.option(
    "--categories", multiple=True, metavar="COLUMN", help="A column that holds categories."
)
@click.option("--texts", multiple=True, metavar="COLUMN", help="A column that holds text.")
@click.option(
    "--size", nargs=2, type=int, metavar="HEIGHT WIDTH", help="Bring all images to this size."
)
@click.option("--channels", type=int, help="Of images: 1 for grey, 3 for colour.")
@click.option(
    "--ignore-index", type=int, metavar="VALUE", help="Of masks: pixels of it have no class."
)
@click.option("--dry-run", is_flag=True, help="Only read and describe it; nothing is stored.")
@json_option
@click.pass_obj
def add(
    session: Session, /, file: str, name: str | None, dry_run: bool, as_json: bool, **read: Any
) -> None:
    """Upload a file, a folder of images, or the weights of a model as safetensors.

    Images may have labels, masks (images/ and masks/) or boxes (annotations.json of COCO; labels/
    of YOLO; .xml of Pascal VOC). A .tar file may also hold samples of WebDataset: 0001.jpg and
    0001.cls.
    A folder of train.csv and test.csv, or of other formats, is one table with the column split.

    The format, the delimiter, the encoding and the types of the columns are detected. Columns in
    which numbers and text are mixed are refused with their rows; options such as --missing n/a say
    what is meant.
    """
    options = {key: list(value) if isinstance(value, tuple) else value
               for key, value in read.items() if value not in (None, ())}  # fmt: skip
    with session.client() as client, _progress(quiet=as_json) as on_progress:
        stored = client.upload(
            file, name=name, read=options, validate_only=dry_run, on_progress=on_progress
        )
    if as_json:
        print_json(_as_json(stored))
        return
    _print_dataset(stored)
    for warning in stored.warnings:
        note(f"warning: {warning}")
    if not dry_run and stored.is_weights:
        say(f"\nStart a job from them: weights: {{stored: {stored.name}}}")
    elif not dry_run:
        say(f"\nUse it in a job: {_usage(stored)}")


def _usage(stored: "StoredDataset") -> str:
    """Return what names a data set in a job."""
    names = [column.name for column in stored.columns]
    if "mask" in names or "boxes" in names:
        task = "segmentation" if "mask" in names else "detection"
        return f"task: {task}, dataset: {{stored: {{name: {stored.name}}}}}"
    target = names[-1] if names else "COLUMN"
    return f"dataset: {{stored: {{name: {stored.name}, target: {target}}}}}"


@data.command(name="list")
@click.option("--name", default="", help="Only versions of this name.")
@json_option
@click.pass_obj
def list_(session: Session, name: str, as_json: bool) -> None:
    """List the stored data sets, the newest first."""
    with session.client() as client:
        stored = list(client.stored_datasets(name=name))
    if as_json:
        print_json([_as_json(each) for each in stored])
        return
    if not stored:
        note("no data sets are stored; upload one with `talweg data add FILE`")
        return
    from rich.text import Text

    rows = [
        [
            Text(each.version),
            Text("weights" if each.is_weights else f"{each.num_samples:,}", justify="right"),
            Text(bytes_text(each.message.num_bytes)),
            Text(ago(each.message.create_time)),
            Text(each.message.file_name),
        ]
        for each in stored
    ]
    out = console()
    columns = (
        Column("NAME@VERSION"),
        Column("SAMPLES"),
        Column("SIZE"),
        Column("STORED"),
        Column("FILE", min_width=8, optional=True),
    )
    out.print(fitted(columns, rows, out.width))


@data.command()
@_NAME
@json_option
@click.pass_obj
def show(session: Session, name: str, as_json: bool) -> None:
    """Show a data set: its columns with their values, missing ones, and distributions."""
    with session.client() as client:
        stored = client.stored_dataset(name)
    if as_json:
        print_json(_as_json(stored))
        return
    _print_dataset(stored)
    for warning in stored.warnings:
        note(f"warning: {warning}")


@data.command()
@_NAME
@click.option(
    "--force", is_flag=True, help="Also if ended jobs have read it, which cannot be repeated then."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(session: Session, name: str, force: bool, yes: bool) -> None:
    """Delete a version of a data set, NAME@DIGEST, or with NAME alone all its versions."""
    with session.client() as client:
        if not yes:
            client.stored_dataset(name)  # An unknown name is refused before anybody is asked.
            what = name if "@" in name else f"all versions of {name}"
            confirm(f"Delete {what}?")
        client.delete_stored_dataset(name, force=force)
    say(f"{name} is deleted")


def bytes_text(number: int) -> str:
    """Write a size: ``812 B``, ``3.4 MB``."""
    power = min((len(str(number)) - 1) // 3, len(_BYTES) - 1)
    return f"{number / 1000**power:.{1 if power else 0}f} {_BYTES[power]}"


@contextmanager
def _progress(*, quiet: bool) -> "Iterator[Progress | None]":
    """Show how far an upload is, on a terminal."""
    out = console(stderr=True)
    if quiet or not out.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(
        "uploading", BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=out,
        transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=None)
        yield lambda sent, total: bar.update(task, completed=sent, total=total)


def _as_json(stored: "StoredDataset") -> dict[str, Any]:
    from talweg.spec import to_dict

    message = type(stored.message)()
    message.CopyFrom(stored.message)
    message.ClearField("pictures")
    return {"version": stored.version, **to_dict(message)}


def _print_dataset(stored: "StoredDataset") -> None:
    from rich.text import Text

    message = stored.message
    size = bytes_text(message.num_bytes)
    count = f"{stored.num_samples:,} samples"
    if stored.is_weights:
        count = f"weights, {len(message.columns):,} tensors"
    say(f"{stored.version}  {count}, {size}, from {message.source_uri or message.file_name}")
    rows = [
        [
            Text(column.name),
            Text(_type(column)),
            Text(f"{column.num_missing:,}" if column.num_missing else ""),
            Text(_range(column)),
            Text(sparkline(column.histogram)),
        ]
        for column in message.columns
    ]
    out = console()
    if stored.is_weights:
        tensors = (Column("TENSOR", min_width=8), Column("TYPE"))
        out.print(fitted(tensors, [row[:2] for row in rows], out.width))
        return
    columns = (
        Column("COLUMN", min_width=8),
        Column("TYPE"),
        Column("MISSING"),
        Column("VALUES", min_width=12),
        Column("DISTRIBUTION", optional=True),
    )
    if rows:
        out.print(fitted(columns, rows, out.width))


def _type(column: "DataColumn") -> str:
    name = type(column).Type.Name(column.type).lower()
    shape = "×".join(map(str, column.shape))
    return f"{name} {shape}".strip()


def _range(column: "DataColumn") -> str:
    """Write what a column holds: its bounds, or its most frequent values."""
    if column.values:
        frequent = sorted(column.values, key=lambda each: -each.count)[:_MOST_VALUES]
        text = ", ".join(f"{each.value} ({each.count:,})" for each in frequent)
        more = len(column.values) - len(frequent)
        return f"{text}, {more} more" if more > 0 else text
    if column.type == type(column).DATE and column.HasField("min"):
        return f"{_day(column.min)} to {_day(column.max)}"
    if column.HasField("min"):
        spread = f", mean {column.mean:.4g}" if column.HasField("mean") else ""
        return f"{column.min:.4g} to {column.max:.4g}{spread}"
    return f"{column.num_distinct:,} distinct" if column.num_distinct else ""


def _day(microseconds: float) -> str:
    from datetime import UTC, datetime, timedelta

    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds):%Y-%m-%d}"


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts as bars of text; none where there are no counts."""
    most = max(counts, default=0)
    if not most:
        return ""
    # A bin that holds anything shows at least the lowest bar.
    return "".join(
        _BARS[-(-count * (len(_BARS) - 1) // most)] if count else " " for count in counts
    )
