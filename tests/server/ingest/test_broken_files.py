"""Broken files: each is refused with the place and what is there, and leaves nothing."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from tests.server.ingest.parts import MEMORY, arrow, image, ingest, npy, npz, parquet, tar, zipped

GARBAGE = np.random.default_rng(3).integers(0, 256, 5000, np.uint8).tobytes()


class Case(NamedTuple):
    """A broken file."""

    name: str
    content: bytes | Callable[[], bytes]
    place: str
    found: str
    options: dict[str, Any] = {}
    memory: int = MEMORY


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def nested() -> pa.Table:
    return pa.table({"a": [1, 2], "tags": [["x"], ["y", "z"]], "at": [{"k": 1}, {"k": 2}]})


def bomb() -> bytes:
    """A few hundred KB that would be 200 MB."""
    header = npy(np.zeros(1))[:-8].replace(b"(1,)", b"(9,)")
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as file:
            file.write(header)
            for _ in range(2):
                file.write(bytes(100 << 20))
    return sink.getvalue()


def lying_npy() -> bytes:
    """The header tells of a petabyte."""
    return npy(np.zeros(3)).replace(b"(3,), }" + b" " * 14, b"(99999999999999,), } ")


def lying_safetensors() -> bytes:
    header = {"x": {"dtype": "F32", "shape": [100], "data_offsets": [0, 400]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(40)


def rows(*lines: str) -> bytes:
    return "\n".join([*lines, ""]).encode()


def table(num_columns: int) -> bytes:
    return rows(
        ",".join(f"c{index}" for index in range(num_columns)), ",".join(["1"] * num_columns)
    )


PARQUET = parquet(pa.table({"a": [1, 2, 3]}))
PNG = image()
TAR = tar({"a/1.png": PNG, "b/2.png": PNG})
SECOND = 512 + -(-len(PNG) // 512) * 512
CASES = [
    # Not there, or of another format.
    Case("t.csv", b"", "t.csv", "an empty file"),
    Case("t.csv", b" \n\n  \n", "t.csv", "no text"),
    Case("t.csv", b"a,b\n", "t.csv", "a header and no rows"),
    Case("t.csv", b"a,b", "t.csv", "a header and no rows"),
    Case("t.xlsx", zipped({"xl/workbook.xml": b"<x/>"}), "t.xlsx", 'the ending ".xlsx"'),
    Case("t.csv", zipped({"xl/workbook.xml": b"<x/>"}), "t.csv", "a zip archive"),
    Case("data", b"a\n1\n", "data", "a name without an ending"),
    Case("t.csv.gz", b"\x1f\x8b\x08\x00", "t.csv.gz", 'the ending ".gz"'),
    Case("t.csv", b"\x1f\x8b\x08\x00rest", "t.csv", "a gzip file"),
    Case("t.csv", PARQUET, "t.csv", "a Parquet file"),
    Case("t.parquet", b"a,b\n1,2\n", "t.parquet", "does not begin as a Parquet file"),
    Case("t.npz", PARQUET, "t.npz", "a Parquet file"),
    Case("t.npz", b"a,b\n1,2\n", "t.npz", "content that begins with"),
    Case("t.png", PNG, "t.png", 'the ending ".png"'),
    Case("t.csv", PNG, "t.csv", "a PNG image"),
    *[
        Case(f"t.{ending}", GARBAGE, "t.", "")
        for ending in (
            "csv",
            "tsv",
            "parquet",
            "arrow",
            "feather",
            "npz",
            "npy",
            "safetensors",
            "tar",
        )
    ],
    *[
        Case(f"t.{ending}", bytes(2000), "t.", "")
        for ending in ("csv", "parquet", "arrow", "npz", "npy", "safetensors", "tar")
    ],
    # Cut off.
    Case("t.parquet", PARQUET[:-20], "t.parquet", "cannot be read"),
    Case("t.parquet", PARQUET[:4], "t.parquet", "cannot be read"),
    Case("t.parquet", PARQUET[:8] + bytes(20) + PARQUET[28:], "t.parquet", "cannot be read"),
    Case("t.arrow", arrow(pa.table({"a": [1]}))[:-30], "t.arrow", "cannot be read"),
    Case("t.npz", npz(x=np.zeros((9, 9)))[:-60], "t.npz", "cannot be read"),
    Case("t.npy", npy(np.zeros(100))[:-16], 'array "x"', "784 bytes of values"),
    Case("t.npy", b"\x93NUMPY\x01\x00\xff", 'array "x"', "a header that cannot be read"),
    Case("t.safetensors", lying_safetensors(), "t.safetensors", "cannot be read"),
    Case("t.tar", tar({"a/1.png": PNG, "b/2.png": PNG})[:700], "t.tar", "cannot be read"),
    # Where tarfile takes the members before for all.
    Case("t.tar", TAR[:SECOND], "t.tar", f"is cut off at byte {SECOND:,}"),
    Case("t.tar", TAR[: SECOND + 100], "t.tar", f"is cut off at byte {SECOND:,}"),
    Case("t.tar", TAR[:SECOND] + b"?" + TAR[SECOND + 1 :], "t.tar", "no header of a member"),
    Case("t.tar", TAR + tar({"c/3.png": PNG}), "t.tar", "something behind its end"),
    Case("t.tar", tar({"x.npy": npy(np.zeros(3))})[:1024], "t.tar", "is cut off at byte 1,024"),
    # Text.
    Case("t.csv", "a,b\n1,é\n2,ü\n".encode("cp1252"), "line 2", "no utf-8", {"encoding": "utf-8"}),
    Case("t.csv", b"a\n1\n", "options.encoding", '"klingon"', {"encoding": "klingon"}),
    Case("t.csv", b"a\n1\n", "options.encoding", '"rot13"', {"encoding": "rot13"}),
    Case("t.csv", b"a,b\n1,\x002\n", "t.csv, byte 7", "binary data"),
    Case("t.csv", b"\xff\xfea\x00,\x00b\x00", "t.csv", "a header and no rows"),
    Case("t.csv", b"\xff\xfea\x00,\x00b\x00\n", "t.csv, line 1", "no utf-16"),
    # Headers.
    Case("t.csv", rows("a,b,a,b", "1,2,3,4"), "header", '"a" as the name of columns 1, 3'),
    Case("t.csv", rows(",a,", "1,2,3"), "header", "no name for column 1, 3"),
    Case("t.csv", rows(",a", "0,2"), "header", "no name for column 1"),
    Case("t.csv", rows("1.5,2", "3,4"), "header", "numbers in the first line"),
    Case("t.csv", rows("a" * 300 + ",b", "1,2"), "header, column 1", "a name of 300 characters"),
    Case("t.csv", rows("a\x1b[31m,b", "1,2"), "header, column 1", "control characters"),
    Case("t.csv", lambda: table(10_000), "header", "10,000 columns"),
    Case(
        "t.parquet",
        lambda: parquet(pa.table({f"c{i}": [1] for i in range(6000)})),
        "header",
        "6,000 columns",
    ),
    # Rows.
    Case("t.csv", rows("a,b", "1,2", "3", "4,5"), "row 2", "1 values"),
    Case("t.csv", rows("a,b", "1,2", "", "4,5,6"), "row 2", "3 values"),
    Case("t.csv", b"a,b\r\n1,2\n3,4\r5\n", "row 3", "1 values"),
    Case("t.csv", rows("a,b", "1,2,", "3,4,"), "header", "where 2 of 2 rows have 3 values"),
    Case("t.csv", rows("# by hand", "a,b", "1,2", "3,4"), "header", "where 3 of 3 rows have 2"),
    Case("t.csv", rows("sep=;", "a;b", "1;2"), "header", "names the delimiter for Excel"),
    Case("t.csv", b'[{"a": 1}, {"a": 2}]', "t.csv", "JSON, by its first characters"),
    Case("t.csv", b"<!DOCTYPE html>\n<html></html>", "t.csv", "a page of HTML"),
    Case("t.csv", rows("a,b", '1,"x', "3,4", "5,6"), "row 1", "a quote that is not closed"),
    Case("t.csv", rows("a;b", "1;2", "3"), "row 2", "1 values"),
    Case("t.csv", lambda: rows("a,b", "1," + "x" * 10_000_000), 'row 1, column "b"', "10,000,000"),
    Case("t.csv", rows("a,b", *["1,2"] * 9, "x,2"), 'column "a", row 10', '"x" among numbers'),
    Case("t.csv", rows("a", *map(str, range(50)), "1,000"), "row 51", "2 values"),
    Case("t.csv", rows("a", *map(str, range(50)), "12 kg", "?"), "rows 51, 52", '"12 kg", "?"'),
    Case("t.csv", rows("d", *["2020-01-02"] * 20, "soon"), 'column "d", row 21', "among dates"),
    Case("t.csv", rows("d", *["2020-01-02"] * 20, "2020-02-30"), 'column "d", row 21', "dates"),
    Case("t.csv", rows("d", *["2020-01-02"] * 20, "0000-00-00"), 'column "d", row 21', "dates"),
    Case(
        "t.csv",
        rows("a", *[f"v{index}" for index in range(10_001)]),
        'column "a"',
        "10,001 distinct values",
        {"categories": ["a"]},
    ),
    Case("t.csv", rows("a", "1"), "options.categories", '"b"', {"categories": ["b"]}),
    Case("t.csv", rows("a", "1"), "options.texts", '"b"', {"texts": ["b"]}),
    Case("t.csv", rows("a", "1"), "options.delimiter", "", {"delimiter": '"'}),
    # Parquet and Arrow.
    Case("t.parquet", parquet(nested()), 'column "tags"', "nested values (list<"),
    Case("t.arrow", arrow(nested()), 'column "at"', "nested values (struct<"),
    Case(
        "t.parquet",
        parquet(pa.table({"b": pa.array([b"x"], pa.binary())})),
        'column "b"',
        "values of the type binary",
    ),
    Case(
        "t.arrow",
        arrow(pa.table({"t": pa.array([1], pa.duration("s"))})),
        'column "t"',
        "values of the type duration",
    ),
    Case("t.parquet", parquet(pa.table({"a": pa.array([], pa.int64())})), "t.parquet", "no rows"),
    Case("t.arrow", arrow(pa.table({"a": pa.array([], pa.int64())})), "t.arrow", "no rows"),
    Case("t.arrow", arrow(pa.table({})), "t.arrow", "no columns"),
    Case(
        "t.arrow",
        arrow(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])),
        "header",
        '"a" as the name of columns 1, 2',
    ),
    # Arrays.
    Case(
        "t.npz",
        npz(x=np.zeros((5, 2)), y=np.zeros(4), z=np.zeros(5)),
        'array "y"',
        'shapes that disagree: "x" (5, 2), "y" (4,)',
    ),
    Case("t.npy", npy(np.array([{}], object), allow_pickle=True), 'array "x"', "Python objects"),
    Case("t.npz", npz(x=np.zeros(3, [("a", "f4")])), 'array "x"', "records with the fields"),
    Case("t.npz", npz(x=np.zeros(3, complex)), 'array "x"', "complex128"),
    Case("t.npz", npz(x=np.float64(3)), 'array "x"', "a single value"),
    Case("t.npz", npz(x=np.zeros((0, 3))), 'array "x"', "no values"),
    Case("t.npz", npz(x=np.zeros((3, 0))), 'array "x"', "no values"),
    Case("t.npz", npz(x=np.full(3, 2**63, np.uint64)), 'array "x"', "beyond 64 bits"),
    Case("t.npz", npz(x=np.zeros((1,) * 12)), 'array "x"', "12 dimensions"),
    Case("t.npz", npz(t=np.array(["2020-01-01", "NaT"], "M8[D]")), 'array "t"', "NaT"),
    Case("t.npz", zipped({"readme.txt": b"x"}), '"readme.txt"', "a file that is no array"),
    Case("t.npz", zipped({}), "t.npz", "an empty zip archive"),
    Case("t.npz", bomb, "t.npz", "bytes once it is unpacked", memory=1 << 29),
    Case("t.npy", lying_npy, 'array "x"', "bytes once it is unpacked"),
    Case("t.npz", lambda: zipped({"x.npy": lying_npy()}), 'array "x"', "once it is unpacked"),
    Case("t.tar", tar({"x.npy": npy(np.zeros(3)), "a.png": PNG}), '"a.png"', "is no array"),
    # Images.
    Case("t.tar", tar({"../a.png": PNG}), '"../a.png"', "leads out"),
    Case("t.tar", tar({"/etc/a.png": PNG}), '"/etc/a.png"', "leads out"),
    Case("t.tar", tar({"a/1.png": PNG}, link("a/2.png", "/etc/passwd")), '"a/2.png"', "symbolic"),
    Case("t.tar", tar({"a/1.png": PNG}, link("a/2.png", "a/1.png", tarfile.LNKTYPE)), "2", "hard"),
    Case("t.tar", tar({}, link("a/2.png", "", tarfile.FIFOTYPE)), '"a/2.png"', "a pipe"),
    Case("t.tar", tar({}), "t.tar", "no image"),
    Case("t.tar", tar({"readme.md": b"x"}), "t.tar", "no image"),
    Case("t.tar", tar({"a/1.png": PNG, "a/run.exe": b"MZ"}), '"a/run.exe"', "no images"),
    Case("t.tar", tar({"a/1.png": PNG, "b/2.png": b"no"}), '"b/2.png"', "does not decode"),
    Case("t.tar", tar({"a/1.png": PNG, "b/2.png": PNG[:60]}), '"b/2.png"', "does not decode"),
    Case("t.tar", tar({"a/1.png": PNG, "b/2.png": image(7, 8)}), "images", '"b/2.png" 7×8'),
    Case("t.tar", tar({"a/1.png": PNG, "2.png": PNG}), '"2.png"', "beside the folders"),
    Case(
        "t.tar",
        tar({"1.png": PNG, "labels.csv": rows("file,label", "1.png,x", "2.png,y")}),
        "labels.csv",
        '1 files that are not there: "2.png"',
    ),
    Case(
        "t.tar",
        tar({"1.png": PNG, "2.png": PNG, "labels.csv": rows("file,label", "1.png,x")}),
        "labels.csv",
        'no row for 1 images: "2.png"',
    ),
    Case("t.tar", tar({"1.png": PNG, "labels.csv": b"a,b\n"}), "labels.csv, header", '"a", "b"'),
    Case(
        "t.tar",
        tar({"1.png": PNG, "labels.csv": rows("file,label", "1.png,")}),
        "labels.csv, row 1",
        "no label",
    ),
    Case("t.tar", tar({"a/1.png": PNG}), "options.channels", "2", {"channels": 2}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.found[:40]}")
def test_a_broken_file_is_refused_with_its_place(tmp_path: Path, case: Case) -> None:
    content = case.content() if callable(case.content) else case.content
    result = ingest(tmp_path, content, case.name, memory=case.memory, **case.options)
    assert result.problems
    texts = [(each.place, each.found) for each in result.problems]
    assert any(case.place in place and case.found in found for place, found in texts), texts
    for problem in result.problems:
        assert problem.allowed
        assert len(problem.found) < 1000


def test_there_are_many() -> None:
    assert len(CASES) >= 100


def test_all_problems_are_told_up_to_a_bound(tmp_path: Path) -> None:
    lines = ["a,b", *["1,2,3"] * 200, *["1,2"] * 300]
    result = ingest(tmp_path, rows(*lines))
    assert [each.place for each in result.problems[:3]] == ["row 1", "row 2", "row 3"]
    assert len(result.problems) == 50


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    huge = bytearray(image(4, 4, mode="L"))
    # The header of a PNG tells width and height; with its checksum it would be read.
    huge[16:24] = struct.pack(">II", 60_000, 60_000)
    import zlib

    huge[29:33] = struct.pack(">I", zlib.crc32(bytes(huge[12:29])))
    result = ingest(tmp_path, tar({"a/1.png": bytes(huge)}), "t.tar")
    assert result.problems[0].place == '"a/1.png"'
    assert "pixels" in result.problems[0].found
