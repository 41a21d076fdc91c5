"""Files are read for a prediction as they are read when data are uploaded."""

from pathlib import Path

import pytest
from tests.server.ingest.parts import read as ingested

from talweg.worker.artifacts.prediction_files import read

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
