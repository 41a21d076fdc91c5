"""Predictions that a worker computes: what is said of the rows is said of the caller's line."""

import io
import shutil
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pandas as pd
import pytest

from talweg.client import AsyncClient, AsyncJob, Client, InvalidRequest, Job
from talweg.client.results import _predictions
from talweg.spec.predictions import MAX_PICTURES_BYTES
from talweg.v1 import jobs_pb2
from talweg.v1.predictions_pb2 import PredictionTable, PredictRequest, PredictResponse
from talweg.v1.predictions_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

JOB = jobs_pb2.Job(name="jobs/a")
ROWS = {"site": ["new"]}


class Noting(PredictionServiceServicer):
    """A server whose answers have a note."""

    def Predict(self, request: PredictRequest, context: Any) -> PredictResponse:  # noqa: N802
        table = PredictionTable(format=PredictionTable.CSV, content=b"prediction\n0.5\n")
        return PredictResponse(table=table, num_rows=1, notes=["column site: \x1b[2Junknown"])


@pytest.fixture
def address() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    add_PredictionServiceServicer_to_server(Noting(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.mark.parametrize("data", [ROWS, pd.DataFrame(ROWS)], ids=["columns", "frame"])
async def test_a_note_is_a_warning_at_the_line_that_predicts(address: str, data: Any) -> None:
    with Client(address) as client, pytest.warns(UserWarning, match="site: .*unknown") as said:
        predicted = Job(client._connection, JOB).predict(data, remote=True)
    async with AsyncClient(address) as aclient:
        with pytest.warns(UserWarning, match="site: .*unknown") as also_said:
            again = await AsyncJob(aclient._connection, JOB).predict(data, remote=True)
    assert type(predicted) is type(again) is type(data)
    assert list(predicted["prediction"]) == list(again["prediction"]) == [0.5]
    assert [each.filename for each in (*said, *also_said)] == [__file__] * 2
    assert not any("\x1b" in str(each.message) for each in (*said, *also_said))


def test_a_file_is_written_whole(address: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("site\nnew\n")
    target = tmp_path / "to/out.csv"
    with Client(address) as client, pytest.warns(UserWarning, match="site") as said:
        num_rows = Job(client._connection, JOB).predict_file(
            tmp_path / "rows.csv", target, remote=True
        )
    assert num_rows == 1
    assert said[0].filename == __file__
    assert [each.name for each in target.parent.iterdir()] == ["out.csv"]
    assert target.read_text() == "prediction\n0.5\n"


def test_pictures_are_sent_as_an_archive(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.JPG").write_bytes(b"a")
    (folder / "b.tif").write_bytes(b"b")
    (folder / "note.txt").write_bytes(b"no picture")
    for source, names in ((folder, ["b.tif", "deep/a.JPG"]), (folder / "b.tif", ["b.tif"])):
        table = _predictions._of_file(source)
        assert table.format == PredictionTable.ZIP
        with zipfile.ZipFile(io.BytesIO(table.content)) as archive:
            assert sorted(archive.namelist()) == names
            assert archive.read("b.tif") == b"b"
        assert _predictions._of_file(source) == table
    archived = tmp_path / "new.zip"
    archived.write_bytes(table.content)
    assert _predictions._of_file(archived) == table
    with (folder / "c.png").open("wb") as large:
        large.truncate(MAX_PICTURES_BYTES)
    shutil.copy(folder / "c.png", archived)
    with archived.open("ab") as grown:
        grown.write(b"x")
    for source, told in (
        (folder, r"new holds 3 pictures of 8,388,610 bytes, .* at most 8,388,608 at once"),
        (archived, r"new\.zip has 8,388,609 bytes, .* send fewer pictures"),
        (folder / "c.png", r"c\.png has 8,388,7\d\d bytes, .* fewer or smaller pictures"),
        (tmp_path / "none", r"none holds no pictures: they end in \.png"),
    ):
        (tmp_path / "none").mkdir(exist_ok=True)
        with Client(address) as client, pytest.raises(InvalidRequest, match=told):
            Job(client._connection, JOB).predict_file(source, tmp_path / "out.csv", remote=True)


def test_the_file_to_predict_for_is_not_written_over(tmp_path: Path) -> None:
    source, link = tmp_path / "in.csv", tmp_path / "link.csv"
    source.write_text("a\n1\n")
    link.symlink_to(source)
    with Client("127.0.0.1:1") as client:
        for remote in (True, False):
            with pytest.raises(ValueError, match="write to another one"):
                Job(client._connection, JOB).predict_file(source, link, remote=remote)
    assert source.read_text() == "a\n1\n"
