"""Ready-made parts: a folder with a table for the training, validation and test data."""

from pathlib import Path

import pyarrow as pa
import pytest
from tests.server.ingest.parts import arrow, ingest, parquet, read, tar

TRAIN = b"size,town\n1,Ay\n2,Bex\n3,Ay\n"
TEST = b"town;size\nBex;4.5\nChur;5\n"


def test_csv_files_become_one_table_with_their_parts(tmp_path: Path) -> None:
    # Another delimiter and order of columns, numbers that are not whole, and another category.
    files = {"test.csv": TEST, "train.csv": TRAIN, "val.csv": b"size,town\n9,\n"}
    # As `tar cf houses.tar houses` writes it.
    result = read(tmp_path, tar({f"houses/{n}": c for n, c in files.items()}), "houses.tar")
    assert result.types == {"size": "NUMBER", "town": "CATEGORY", "split": "CATEGORY"}
    assert result.table.to_pydict() == {
        "size": [1.0, 2.0, 3.0, 9.0, 4.5, 5.0],
        "town": ["Ay", "Bex", "Ay", None, "Bex", "Chur"],
        "split": ["train"] * 3 + ["validation"] + ["test"] * 2,
    }
    (note,) = (note for note in result.info.warnings if "parts" in note)
    assert note.endswith("in the column split: 3 of train, 1 of validation, 2 of test")


@pytest.mark.parametrize(("write", "ending"), [(parquet, "parquet"), (arrow, "feather")])
def test_tables_of_arrow_become_one(write, ending: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    train = write(pa.table({"a": [1, 2], "b": ["x", "y"]}))
    test = write(pa.table({"b": ["z"], "a": [2.5]}))
    files = {f"train.{ending}": train, f"test.{ending}": test}
    for number, options in enumerate(({}, {"format": "parquet"})):
        if options and ending != "parquet":
            continue
        result = read(tmp_path / str(number), tar(files), "t.tar", **options)
        assert result.table.to_pydict() == {
            "a": [1.0, 2.0, 2.5],
            "b": ["x", "y", "z"],
            "split": ["train", "train", "test"],
        }


@pytest.mark.parametrize(
    ("files", "place", "found"),
    [
        ({"train.csv": TRAIN, "test.csv": b"size\n1\n"}, "test.csv", 'no column "town"'),
        (
            {"train.csv": TRAIN, "test.csv": b"size,town,x\n1,a,2\n"},
            "test.csv", 'further column "x"',
        ),
        ({"train.csv": TRAIN, "test.csv": b"size,split\n1,a\n"}, "test.csv", 'column "split"'),
        ({"train.csv": TRAIN, "test.csv": b"size,town\n1\n"}, '"test.csv", row 1', "1 values"),
        ({"train.csv": TRAIN, "test.csv": b""}, "test.csv", "no text"),
        ({"train.csv": TRAIN, "test.parquet": b"PAR1"}, "test.parquet", "several formats"),
        (
            {
                "train.parquet": parquet(pa.table({"a": [1, 2]})),
                "test.parquet": parquet(pa.table({"a": ["x"]})),
            },
            "test.parquet", "different types",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(
    files: dict[str, bytes], place: str, found: str, tmp_path: Path
) -> None:
    result = ingest(tmp_path, tar(files), "t.tar")
    assert any(place in each.place and found in each.found for each in result.problems), (
        result.problems
    )


def test_a_wrong_value_has_the_row_of_its_file(tmp_path: Path) -> None:
    many = b"size,town\n" + b"".join(b"%d,Ay\n" % row for row in range(100))
    files = {"train.csv": many, "test.csv": many.replace(b"7,Ay\n", b"x,Ay\n", 1)}
    result = ingest(tmp_path, tar(files), "t.tar")
    (problem,) = result.problems
    assert problem.place.startswith('"test.csv", ')
    assert "row 8" in problem.place


def test_other_folders_are_read_as_before(tmp_path: Path) -> None:
    # Not alone, not of a part, or twice of one.
    for number, names in enumerate((["train.csv"], ["a.csv", "b.csv"], ["val.csv", "valid.csv"])):
        result = ingest(tmp_path / str(number), tar(dict.fromkeys(names, TRAIN)), "t.tar")
        assert "no images" in result.problems[0].found or "no image" in result.problems[0].found
