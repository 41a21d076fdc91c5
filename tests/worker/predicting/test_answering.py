"""A prediction on a worker: the model from the blob store, computed by a process with limits."""

import time
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests._parts import free_port, wait_until
from tests.worker._jobs import tiny_spec
from tests.worker.artifacts.test_image_files import png, zipped
from tests.worker.artifacts.test_trained import untrained

from talweg.blobs import TRAINING, Blobs, write_artifacts
from talweg.spec.broker import PredictArguments
from talweg.spec.predictions import MAX_TABLE_BYTES
from talweg.v1.predictions_pb2 import PredictionTable, PredictRequest
from talweg.v1.workers_pb2 import FinishPredictionRequest, TakePredictionResponse
from talweg.worker.artifacts.trained import TrainedModel
from talweg.worker.predicting import answering, computing
from talweg.worker.predicting import folder as files
from talweg.worker.predicting.answering import answer
from talweg.worker.predicting.process import PredictingProcess
from talweg.worker.settings import Settings

JOB = "jobs/wine"
WINE = {"task": "multiclass", "dataset": "wine", "loss": "cross_entropy"}
Failure = FinishPredictionRequest.Failure


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(blobs=str(tmp_path / "blobs"))


@pytest.fixture
def model(tmp_path: Path, settings: Settings) -> TrainedModel:
    """A model, in the blob store as a job leaves it."""
    folder = tmp_path / "model"
    folder.mkdir()
    model = untrained(folder, **WINE)
    files = {f"model/{path.name}": path for path in folder.iterdir()}
    write_artifacts(Blobs(settings.blobs), JOB, 2, TRAINING, files)
    return model


@pytest.fixture
def frame(model: TrainedModel) -> pd.DataFrame:
    values = np.random.default_rng(1).normal(size=(5, *model.input_shape)) * 3 + 5
    frame = pd.DataFrame(values, columns=list(model.input_names))
    return frame.assign(code=[f"{index:03}" for index in range(5)])


def answered(
    settings: Settings,
    content: bytes,
    *,
    seconds: float = 300,
    attempt: int = 2,
    spec: dict[str, Any] | None = None,
    **fields: object,
) -> FinishPredictionRequest:
    request = PredictRequest(
        job=JOB,
        table=PredictionTable(format=PredictionTable.CSV, content=content),
        output_format=PredictionTable.CSV,
    )
    request.MergeFrom(PredictRequest(**fields))  # type: ignore[arg-type]
    order = TakePredictionResponse(
        request=request, attempt=attempt, spec=tiny_spec(**(spec or WINE))
    )
    result = FinishPredictionRequest()
    answer(order, result, settings, until=time.monotonic() + seconds)
    return result


def csv_of(frame: pd.DataFrame) -> bytes:
    text: str = frame.to_csv(index=False)
    return text.encode()


def test_it_says_what_the_model_says(
    settings: Settings, model: TrainedModel, frame: pd.DataFrame
) -> None:
    result = answered(settings, csv_of(frame), id_column="code")
    assert not result.HasField("failure"), result.failure
    wanted = model.predict(frame)
    table = result.response.table
    written = pd.read_csv(StringIO(table.content.decode()), dtype={"code": str, "prediction": str})
    assert list(written["code"]) == list(frame["code"])
    pd.testing.assert_frame_equal(
        written.drop(columns="code"), wanted, rtol=1e-5, check_dtype=False
    )
    assert (result.response.num_rows, list(result.response.text_columns)) == (
        5,
        ["code", "prediction"],
    )
    array = answered(
        settings, csv_of(frame), output_format=PredictionTable.NPZ, as_array=True
    ).response
    raw = np.load(BytesIO(array.table.content))["prediction"]
    np.testing.assert_allclose(raw, wanted.drop(columns="prediction"), rtol=1e-5)
    assert (array.table.format, array.num_rows) == (PredictionTable.NPZ, 5)


def test_a_table_that_does_not_fit_is_the_callers_fault(
    settings: Settings,
    model: TrainedModel,
    frame: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking = frame.drop(columns=["alcohol", "hue"])
    failure = answered(settings, csv_of(lacking)).failure
    assert failure.kind == Failure.TABLE
    assert failure.message.startswith("the columns alcohol, hue are missing: this model reads")
    # The others in this process, which has imported everything already.
    monkeypatch.setattr(answering, "_compute", computed_here)
    for content in (csv_of(frame.assign(hue="blue")), b"\x00\x01", b"alcohol\n1,2,3\n"):
        failure = answered(settings, content).failure
        assert failure.kind == Failure.TABLE, failure
        assert "/tmp" not in failure.message
        assert str(tmp_path) not in failure.message


def computed_here(folder: Path, memory_bytes: int, until: float) -> tuple[int, bytes]:
    (folder / files.RESULT).write_bytes(computing.compute(folder).SerializeToString())
    return 0, b""


def test_a_model_that_is_not_there_or_damaged(settings: Settings, model: TrainedModel) -> None:
    # Of an attempt that does not count.
    assert answered(settings, b"a\n1\n", attempt=1).failure.kind == Failure.MODEL
    path = Path(settings.blobs) / f"{JOB}/artifacts/2/{TRAINING}/model/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    failure = answered(settings, b"a\n1\n").failure
    assert failure.kind == Failure.MODEL
    assert "model/weights.safetensors is damaged" in failure.message


def test_time_and_memory_have_limits(
    settings: Settings, model: TrainedModel, frame: pd.DataFrame
) -> None:
    assert answered(settings, csv_of(frame), seconds=0.2).failure.kind == Failure.TOO_SLOW
    # What takes little as it is sent, and much once it is read.
    bomb = BytesIO()
    np.savez_compressed(bomb, x=np.zeros((9_000_000, 13)))
    assert len(bomb.getvalue()) < MAX_TABLE_BYTES
    little = replace(settings, predict_memory_bytes=2**30)
    table = PredictionTable(format=PredictionTable.NPZ, content=bomb.getvalue())
    failure = answered(little, b"", table=table).failure
    assert failure.kind == Failure.TOO_LARGE
    assert "more memory than the 1,024 MiB" in failure.message


def test_pictures_in_a_zip(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    scenes = {"digit_scenes": {"num_samples": 20}}
    spec = {"task": "segmentation", "dataset": scenes, "loss": "cross_entropy",
            "model": {"unet": {"channels": [4]}}}  # fmt: skip
    model = untrained(folder, **spec)
    stored = {f"model/{path.name}": path for path in folder.iterdir()}
    write_artifacts(Blobs(settings.blobs), JOB, 2, TRAINING, stored)
    monkeypatch.setattr(answering, "_compute", computed_here)
    new = tmp_path / "new"
    new.mkdir()
    (new / "wide.png").write_bytes(png(128, 32))
    wanted = model.predict(new)["wide.png"]
    table = PredictionTable(format=PredictionTable.ZIP, content=zipped({"wide.png": png(128, 32)}))
    response = answered(
        settings, b"", table=table, output_format=PredictionTable.ZIP, spec=spec
    ).response
    with ZipFile(BytesIO(response.table.content)) as archive:
        mask = Image.open(BytesIO(archive.read("masks/wide.png")))
    np.testing.assert_array_equal(np.asarray(mask), wanted)
    assert (response.table.format, response.num_rows) == (PredictionTable.ZIP, 1)
    broken = {"wide.png": png(128, 32), "cut.png": png(128, 32)[:50]}
    table.content = zipped(broken)
    for output, told in (
        (PredictionTable.ZIP, "cut.png does not decode"),
        (PredictionTable.CSV, "masks of pictures are written to .zip or .npz"),
    ):
        failure = answered(settings, b"", table=table, output_format=output, spec=spec).failure
        assert failure.kind == Failure.TABLE
        assert told in failure.message
        assert "/tmp" not in failure.message


def test_a_worker_predicts_for_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # No server is there: the process tries until its time is up.
    monkeypatch.setenv("TALWEG_ADDRESS", f"127.0.0.1:{free_port()}")
    process = PredictingProcess("w1")
    arguments = PredictArguments(prediction="p", token="t", seconds=8.0)
    assert process.why_busy() == ""
    assert process.start(arguments) == ""
    assert process.start(arguments) == process.why_busy() == "it is predicting for another caller"
    wait_until(lambda: not process.why_busy(), timeout=60, what="the prediction is given up")
    assert process.start({**arguments, "seconds": 0.1}) == ""
    wait_until(lambda: not process.why_busy(), timeout=60, what="the next one is given up")
