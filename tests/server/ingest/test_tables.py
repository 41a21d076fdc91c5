"""Tables that are in order: what columns become, encodings, delimiters, dates."""

import datetime
import decimal
import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.server.ingest.parts import arrow, parquet, read

from talweg.worker.data.stored.talweg_table import Column, Table, TableError


def test_the_types_of_columns_and_their_canonical_form(tmp_path: Path) -> None:
    content = (
        b"n,i,b,c,d,code\n"
        b"1.5,1,true,red,2020-01-02,00501\n"
        b",,,,,\n"
        b"inf,3,FALSE,blue,2020-01-03T10:00:00+02:00,02134\n"
    )
    result = read(tmp_path, content)
    assert result.types == {
        "n": "NUMBER",
        "i": "INTEGER",
        "b": "BOOLEAN",
        "c": "CATEGORY",
        "d": "DATE",
        "code": "CATEGORY",
    }
    table = result.table
    assert table.schema.types == [
        pa.float64(),
        pa.int64(),
        pa.bool_(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.timestamp("us"),
        pa.dictionary(pa.int32(), pa.string()),
    ]
    assert table.to_pydict() == {
        "n": [1.5, None, float("inf")],
        "i": [1, None, 3],
        "b": [True, None, False],
        "c": ["red", None, "blue"],
        "d": [datetime.datetime(2020, 1, 2), None, datetime.datetime(2020, 1, 3, 8)],
        "code": ["00501", None, "02134"],
    }
    assert table.column("c").chunk(0).dictionary.to_pylist() == ["blue", "red"]
    number = result.column("n")
    assert (number.num_missing, list(number.missing_rows)) == (1, [1])
    assert (number.num_non_finite, list(number.non_finite_rows)) == (1, [2])
    assert [(v.value, v.count) for v in result.column("c").values] == [("blue", 1), ("red", 1)]
    assert [(v.value, v.count) for v in result.column("b").values] == [("false", 1), ("true", 1)]
    assert any("leading zeros" in text for text in result.info.warnings)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-32", "utf-32"),
        ("latin-1", "iso8859-1"),
        ("cp1252", "cp1252"),
    ],
)
def test_encodings_are_detected_and_said(tmp_path: Path, encoding: str, said: str) -> None:
    euro = "" if encoding == "latin-1" else "€"
    names = ["Åsa", "Jörg", "Zoë"]
    text = f"näme,v{euro}\n" + "".join(f"{name},{i}.5\n" for i, name in enumerate(names))
    result = read(tmp_path, text.encode(encoding))
    assert result.info.options.encoding == said
    is_guess = said in ("iso8859-1", "cp1252")
    assert any("is no UTF-8" in text for text in result.info.warnings) == is_guess
    assert result.table.to_pydict() == {"näme": names, f"v{euro}": [0.5, 1.5, 2.5]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_detected(tmp_path: Path, delimiter: str, end: str) -> None:
    lines = [["a", "b"], ["1", f'"x{delimiter} ""y"""'], ["2", "z"]]
    content = end.join(delimiter.join(line) for line in lines)
    result = read(tmp_path, content.encode())
    assert result.info.options.delimiter == delimiter
    assert result.table.to_pydict() == {"a": [1, 2], "b": [f'x{delimiter} "y"', "z"]}


@pytest.mark.parametrize(
    "content",
    [
        # Commas are as many as delimiters, or more.
        "a;b\n1,5;2,5\n-0,5;10,25\n",
        "Preis, EUR;Breite, m\n1,5;2,5\n-0,5;10,25\n",
    ],
)
def test_decimal_commas_are_no_delimiters(tmp_path: Path, content: str) -> None:
    result = read(tmp_path, content.encode())
    assert result.info.options.delimiter == ";"
    assert list(result.table.to_pydict().values()) == [[1.5, -0.5], [2.5, 10.25]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["10%", "20%"], '"10%" are numbers with signs'),
        (["$1,200.50", "$7"], '"$1,200.50" are numbers with signs'),
        (["1 000", "2 500"], '"1 000" are numbers with signs'),
        (["5 kg", "7 kg"], '"5 kg" are numbers with signs'),
        (["3/14/24 1:30 PM", "3/15/24 2:30 AM"], "look like dates"),
        (["31/12/24", "01/10/24"], "look like dates"),
        (["1.250", "999"], "such as 1.250, whose point is read as a decimal one"),
        (["A1", "B2"], ""),
        (["12a", "12b"], ""),
        (["00:24", "01:30"], ""),
        (["2024-W01", "2024-W02"], ""),
    ],
)
def test_texts_that_are_perhaps_none_are_said(
    tmp_path: Path, values: list[str], said: str
) -> None:
    result = read(tmp_path, "\n".join(["n;v", *(f"1;{v}" for v in values * 2)]).encode())
    warnings = [text for text in result.info.warnings if text.startswith('column "v"')]
    assert (len(warnings) == 1 and said in warnings[0]) if said else not warnings


def test_numbers_and_dates_as_texts_of_parquet_are_said(tmp_path: Path) -> None:
    table = pa.table({"n": ["1.5", "2.5"] * 2, "d": ["2024-01-01", "2024-01-02"] * 2})
    result = read(tmp_path, parquet(table), "t.parquet")
    assert result.types == {"n": "CATEGORY", "d": "CATEGORY"}
    assert [text for text in result.info.warnings if "are numbers, but" in text]
    assert [text for text in result.info.warnings if "look like dates" in text]


def test_mixed_line_ends_and_a_line_feed_in_quotes_are_read(tmp_path: Path) -> None:
    result = read(tmp_path, b'a,b\r\n1,"x\ny"\n2,z\r3,w')
    assert result.table.to_pydict() == {"a": [1, 2, 3], "b": ["x\ny", "z", "w"]}


def test_single_quotes_around_every_name_are_detected(tmp_path: Path) -> None:
    (tmp_path / "spoken").mkdir()
    content = "'popul'\t'vote'\n0\t'it''s'\n190\t'a\tb'\n"
    result = read(tmp_path, content.encode())
    assert result.info.options.quote == "'"
    assert result.table.to_pydict() == {"popul": [0, 190], "vote": ["it's", "a\tb"]}
    spoken = read(tmp_path / "spoken", b"a,b\n1,'x'\n2,\"y\"\n")
    assert spoken.info.options.quote == '"'
    assert spoken.table.to_pydict() == {"a": [1, 2], "b": ["'x'", "y"]}


def test_one_column_needs_no_delimiter(tmp_path: Path) -> None:
    assert read(tmp_path, b"a\n1\n2\n").table.to_pydict() == {"a": [1, 2]}


def test_options_decide_what_columns_are(tmp_path: Path) -> None:
    content = b"zip,grade,x\n10115,1,-\n80331,2,1\n10115,10,?\n"
    options: dict[str, Any] = {"texts": ["zip"], "categories": ["grade"], "missing": ["-", "?"]}
    result = read(tmp_path, content, **options)
    assert result.types == {"zip": "CATEGORY", "grade": "CATEGORY", "x": "INTEGER"}
    assert [each.value for each in result.column("grade").values] == ["1", "2", "10"]
    assert result.column("x").num_missing == 2
    # With other options the same file is other data.
    assert read(tmp_path / "b", content, missing=["-", "?"]).info.digest != result.info.digest


def test_the_same_content_has_the_same_digest(tmp_path: Path) -> None:
    first = read(tmp_path / "a", b"a,b\n1,x\n2,y\n")
    second = read(tmp_path / "b", b"a,b\r\n1,x\r\n2,y", "other.csv")
    assert first.info.digest == second.info.digest
    data = (first.folder / "data.arrow").read_bytes()
    assert first.info.data_sha256 == hashlib.sha256(data).hexdigest()
    assert read(tmp_path / "c", b"a,b\n1,x\n3,y\n").info.digest != first.info.digest


@pytest.mark.parametrize(
    ("texts", "days"),
    [
        (["2020-01-02", "2020-12-31"], [(2020, 1, 2), (2020, 12, 31)]),
        (["2020/1/2", "2020/12/31"], [(2020, 1, 2), (2020, 12, 31)]),
        (["02.01.2020", "31.12.2020"], [(2020, 1, 2), (2020, 12, 31)]),
        (["01/02/2020", "12/31/2020"], [(2020, 1, 2), (2020, 12, 31)]),
        (["02/01/2020", "31/12/2020"], [(2020, 1, 2), (2020, 12, 31)]),
        (["Jan 2 2020", "December 31, 2020"], [(2020, 1, 2), (2020, 12, 31)]),
        (["2-Jan-2020", "31-dec-2020"], [(2020, 1, 2), (2020, 12, 31)]),
        (["1850-02-28", "2400-02-29"], [(1850, 2, 28), (2400, 2, 29)]),
    ],
)
def test_dates(tmp_path: Path, texts: list[str], days: list[tuple[int, int, int]]) -> None:
    lines = ["d", *[f'"{text}"' for text in texts]]
    result = read(tmp_path, "\n".join(lines).encode())
    assert result.types == {"d": "DATE"}
    assert result.table.to_pydict()["d"] == [datetime.datetime(*day) for day in days]
    # A model reads them alike, also where a new file's days could be months.
    column = Column("d", "date", form=result.column("d").date_form)
    read_again = Table([column]).encode({"d": texts})[:, 0]
    epoch = datetime.datetime(1970, 1, 1)
    assert read_again.tolist() == [(datetime.datetime(*day) - epoch).days for day in days]


def test_a_model_reads_days_and_zones_as_its_data_have_them() -> None:
    day_first = Table([Column("d", "date", form="DD/MM/YYYY")])
    texts = ["01/02/2024", "01/02/2024 06:00", "01/02/2024 06:00:00.0 +06", "2024-02-01", ""]
    days = [19754.0, 19754.25, 19754.0, 19754.0]
    assert day_first.encode({"d": texts})[:4, 0].tolist() == days
    month_first = Table([Column("d", "date", form="MM/DD/YYYY")])
    assert month_first.encode({"d": texts})[0, 0] == 19724
    for wrong in ("31/02/2024", "01.02.2024", "soon"):
        with pytest.raises(TableError, match="or DD/MM/YYYY as in the training data"):
            day_first.encode({"d": [wrong]})


@pytest.mark.parametrize("texts", [["01/02/2020", "03/04/2020"], ["2020-02-30", "2020-02-31"]])
def test_what_may_mean_several_days_or_none_stays_text(tmp_path: Path, texts: list[str]) -> None:
    assert read(tmp_path, "\n".join(["d", *texts]).encode()).types == {"d": "CATEGORY"}


def test_zones_as_databases_write_them(tmp_path: Path) -> None:
    content = b"d\n2020-01-01 10:00:00 UTC\n2020-01-01 10:00:00+00\n2020-01-01 10:00:00-03\n"
    moments = [datetime.datetime(2020, 1, 1, hour) for hour in (10, 10, 13)]
    assert read(tmp_path, content).table.to_pydict()["d"] == moments


def test_a_time_has_fractions_and_zones(tmp_path: Path) -> None:
    content = b"t\n2020-01-01 10:20:30.5Z\n2020-01-01T00:00:00-05:30\n"
    assert read(tmp_path, content).table.to_pydict()["t"] == [
        datetime.datetime(2020, 1, 1, 10, 20, 30, 500_000),
        datetime.datetime(2020, 1, 1, 5, 30),
    ]


def test_decimal_commas(tmp_path: Path) -> None:
    result = read(tmp_path, b"a;b\n1,5;x\n-2;y\n")
    assert result.table.to_pydict()["a"] == [1.5, -2.0]
    assert any("decimal commas" in text for text in result.info.warnings)


def test_whole_numbers_beyond_64_bits_become_floating_point_with_a_remark(tmp_path: Path) -> None:
    result = read(tmp_path, b"a,b\n99999999999999999999,1.0\n1,2.0\n")
    assert result.types == {"a": "NUMBER", "b": "INTEGER"}
    assert any("99999999999999999999" in text for text in result.info.warnings)


@pytest.mark.parametrize(
    ("number", "distinct", "kind"),
    [(1000, 100, "CATEGORY"), (150, 150, "TEXT"), (300, 120, "CATEGORY"), (3000, 1001, "TEXT")],
)
def test_texts_are_categories_or_text(
    tmp_path: Path, number: int, distinct: int, kind: str
) -> None:
    lines = ["t", *[f"v{index % distinct}" for index in range(number)]]
    assert read(tmp_path, "\n".join(lines).encode()).types == {"t": kind}


def test_a_column_where_a_part_is_numbers_is_text(tmp_path: Path) -> None:
    """As the numbers of tickets are, of which a quarter has letters."""
    values = [str(1000 + i) if i % 4 else f"PC {i}" for i in range(400)]
    assert read(tmp_path, "\n".join(["t", *values]).encode()).types == {"t": "TEXT"}


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_arrow_types_become_the_canonical_ones(tmp_path: Path, kind: str) -> None:
    ordered = pa.DictionaryArray.from_arrays(
        pa.array([1, None, 0], pa.int8()), pa.array(["low", "high"]), ordered=True
    )
    table = pa.table(
        {
            "u": pa.array([1, None, 3], pa.uint8()),
            "f": pa.array([1.5, float("nan"), None], pa.float32()),
            "w": pa.array([1.0, None, 3.0]),
            "d": pa.array([decimal.Decimal("1.25"), None, None]),
            "o": ordered,
            "s": pa.array(["a", None, "b"], pa.large_string()),
            "t": pa.array([0, None, 1_000_000_000], pa.timestamp("ns", "Europe/Berlin")),
            "day": pa.array([1, None, 0], pa.date32()),
            "none": pa.nulls(3),
            "half": pa.array([0.5, None, 1], pa.float16()),
        }
    )
    content = parquet(table) if kind == "parquet" else arrow(table, stream=kind == "stream")
    name = "t.parquet" if kind == "parquet" else "t.feather"
    result = read(tmp_path, content, name)
    epoch = datetime.datetime(1970, 1, 1)
    assert result.table.to_pydict() == {
        "u": [1, None, 3],
        "f": [1.5, None, None],
        "w": [1, None, 3],
        "d": [1.25, None, None],
        "o": ["high", None, "low"],
        "s": ["a", None, "b"],
        "t": [epoch, None, epoch + datetime.timedelta(seconds=1)],
        "day": [epoch + datetime.timedelta(days=1), None, epoch],
        "none": [None] * 3,
        "half": [0.5, None, 1.0],
    }
    assert result.types["w"] == "INTEGER"
    if kind != "parquet":
        assert [each.value for each in result.column("o").values] == ["low", "high"]


def test_the_index_of_pandas_is_left_out(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "__index_level_0__": [5, 6]})
    result = read(tmp_path, parquet(table), "t.parquet")
    assert result.types == {"a": "INTEGER"}
    assert any("index" in text for text in result.info.warnings)
