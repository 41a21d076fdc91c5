"""Files are read for a prediction as they are read when data are uploaded."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.server.ingest.parts import read as ingested

from talweg.worker.artifacts.prediction_files import read, write

ROWS = "size;bed;town\n1,5;007; Bern \n-;012;None\n30;007;Zürich\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_values_are_those_of_the_uploaded_file(tmp_path: Path, encoding: str) -> None:
    content = ROWS.encode(encoding)
    uploaded = ingested(tmp_path / "in", content, missing=["-"], categories=["bed"]).table
    file = tmp_path / "in.csv"
    file.write_bytes(content)
    frame = read(file, texts=["bed", "town"], missing=["-"]).inputs
    assert frame["bed"].tolist() == uploaded.column("bed").to_pylist() == ["007", "012", "007"]
    assert frame["town"].tolist() == ["Bern", "None", "Zürich"]
    assert frame["town"].tolist() == uploaded.column("town").to_pylist()
    sizes = [None if size != size else size for size in frame["size"]]
    assert sizes == uploaded.column("size").to_pylist() == [1.5, None, 30.0]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (" size , town \n 5 ,a\n NA , b \n7, NULL \n", "utf-8"),
        ("size,town\n1,a\n   \n\t\n2,b\n", "utf-8"),
        ("\n'size';'town'\n1;'a;b'\n2;'it''s'\n", "utf-8"),
        ("size,town\n1,a\n2,b\n", "utf-16-le"),
        ("size,town\n1,\x81\xe9\n2,b\n", "latin-1"),
        # By the names that the model takes, this is no comma's.
        ("size;town, or village\n1,5;a\n2,5;b\n", "utf-8"),
    ],
)
def test_a_file_that_was_uploaded_is_read_as_it_was_stored(
    tmp_path: Path, text: str, encoding: str
) -> None:
    content = text.encode(encoding)
    stored = ingested(tmp_path / "in", content).table.to_pydict()
    file = tmp_path / "in.csv"
    file.write_bytes(content)
    names = list(stored)
    frame = read(file, texts=names[1:], columns=names).inputs
    assert list(frame.columns) == names
    for name, values in stored.items():
        assert [None if value != value else value for value in frame[name]] == values


def test_an_index_with_a_name_is_a_column_of_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"size": [1.0, 2.0]}, index=pd.Index(["a", "b"], name="town"))
    file = tmp_path / "in.parquet"
    frame.to_parquet(file)
    assert ingested(tmp_path / "in", file.read_bytes(), "in.parquet").types.keys() == {
        "town",
        "size",
    }
    assert read(file).inputs.to_dict("list") == {"town": ["a", "b"], "size": [1.0, 2.0]}


def test_an_index_that_is_a_column_too_is_one(tmp_path: Path) -> None:
    file = tmp_path / "in.parquet"
    frame = pd.DataFrame({"code": [7, 8], "size": [1.0, 2.0]})
    frame.set_index("code", drop=False).to_parquet(file)
    assert read(file).inputs.to_dict("list") == {"code": [7, 8], "size": [1.0, 2.0]}


def test_a_table_may_be_wide(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    names = [f"a measurement of the instrument {number}" for number in range(4000)]
    file.write_text(f"{','.join(names)}\n{','.join('1' * 4000)}\n")
    assert read(file, columns=names).inputs.shape == (1, 4000)


def test_usual_texts_mean_missing_values_where_none_are_named(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("size,town\nNA,NULL\n,x\n")
    frame = read(file, texts=["town"]).inputs
    assert frame["size"].isna().all()
    assert frame["town"].isna().tolist() == [True, False]


def test_an_id_stays_a_text(tmp_path: Path) -> None:
    file = tmp_path / "in.tsv"
    file.write_text("code\tsize\n0042\t1\n")
    table = read(file, id_column="code")
    assert table.ids.tolist() == ["0042"]
    assert list(table.inputs.columns) == ["size"]


def test_the_usual_id_is_copied_where_the_file_has_it(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("code,size\n007,1\n")
    table = read(file, usual_id="code")
    assert table.ids.tolist() == ["007"]
    assert list(table.inputs.columns) == ["size"]
    assert read(file, id_column="size", usual_id="code").ids.tolist() == ["1"]
    assert read(file, usual_id="name").ids is None


@pytest.mark.parametrize("row", ["1;2;3", "1;2;", "1", '"1;2'])
def test_rows_of_another_length_are_refused_as_in_uploads(tmp_path: Path, row: str) -> None:
    content = f"size;town\n3;4\n{row}\n"
    with pytest.raises(AssertionError):
        ingested(tmp_path / "in", content.encode())
    file = tmp_path / "in.csv"
    file.write_text(content)
    with pytest.raises(ValueError, match="row 2 has . values, but the header has 2"):
        read(file)
    file.write_text('size;town\n3;"4;5"\n\n1;2\n')
    assert read(file).inputs["town"].tolist() == ["4;5", "2"]


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"size": np.arange(200.0), "town": ["Ay", "Bex"] * 100})
    file = tmp_path / f"in.{ending}"
    if ending == "parquet":
        frame.to_parquet(file)
    else:
        np.savez_compressed(file, size=frame["size"].to_numpy())
    content, random, refusals = file.read_bytes(), np.random.default_rng(0), []
    for _ in range(150):
        broken = bytearray(content)
        broken[random.integers(len(broken))] ^= 1 << random.integers(8)
        file.write_bytes(broken)
        try:
            read(file)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all("cannot be read as" in text for text in refusals)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        read(file)


def test_no_file_takes_the_place_of_what_is_none(tmp_path: Path) -> None:
    predictions = pd.DataFrame({"prediction": [1.0]})
    pipe, real, link = tmp_path / "pipe.csv", tmp_path / "real.csv", tmp_path / "link.csv"
    os.mkfifo(pipe)
    with pytest.raises(FileExistsError, match="is a pipe or a device"):
        write(predictions, pipe)
    assert pipe.is_fifo()
    link.symlink_to(real)
    write(predictions, link)
    assert link.is_symlink()
    assert real.read_text() == "prediction\n1.0\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "link.csv", "pipe.csv", "real.csv",
    ]  # fmt: skip
