"""Predictions on a worker: from the call to a worker and back, and every way to fail."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy import func, insert, select
from tests._parts import running_redis
from tests.server.conftest import Running, Start
from tests.server.samples import spec

from talweg.blobs import TRAINING, Blobs, write_artifacts
from talweg.server.store.record.schema import predictions
from talweg.spec.predictions import MAX_TABLE_BYTES
from talweg.v1 import jobs_pb2, workers_pb2
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.predictions_pb2 import PredictionTable, PredictRequest, PredictResponse
from talweg.v1.predictions_pb2_grpc import PredictionServiceStub

ROWS = PredictionTable(content=b"rooms\n4\n")


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    """A broker that no worker of another test listens to."""
    with running_redis(tmp_path) as url:
        yield url


@contextmanager
def running_worker(
    broker_url: str, address: str, *, busy: str = "", num_lost: int = 0
) -> Iterator[None]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tests.server.predicting_worker", "--quiet"]
        + ["worker", "-P", "solo", "-Q", "default", "-l", "ERROR", "-n", "w1@here"],
        env={
            **os.environ,
            "TALWEG_BROKER_URL": broker_url,
            "TALWEG_ADDRESS": address,
            "WHY_BUSY": busy,
            "NUM_LOST": str(num_lost),
        },
    )
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


async def ended_job(running: Running, blobs: Path, *, model: bool = True) -> str:
    """Return the name of a job that has ended, with a model as far as the server looks."""
    fields = spec(outputs={"model": model, "plots": False})
    submitted = await running.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=fields))
    claim = workers_pb2.ClaimJobsRequest(queue="default", worker="w1")
    (assignment,) = (await running.workers.ClaimJobs(claim)).assignments
    if model:
        write_artifacts(
            Blobs(str(blobs)), submitted.job.name, 1, TRAINING, {"model/model.json": b"{}"}
        )
    await running.workers.FinishJob(
        workers_pb2.FinishJobRequest(
            lease=assignment.lease, outcome=Outcome(state=Job.SUCCEEDED, message="done")
        )
    )
    return submitted.job.name


async def predict(running: Running, job: str, **fields: Any) -> PredictResponse:
    request = PredictRequest(job=job, **{"table": ROWS, **fields})
    return await PredictionServiceStub(running.channel).Predict(request)


async def predict_once_there(running: Running, job: str, **fields: Any) -> PredictResponse:
    """Predict as soon as the worker answers, which takes seconds to start."""
    async with asyncio.timeout(360):
        while True:
            try:
                return await predict(running, job, **fields)
            except grpc.aio.AioRpcError as error:
                if reason(error) != "NO_WORKER":
                    raise


def reason(error: grpc.aio.AioRpcError) -> str:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            status.MergeFromString(value)
    info = error_details_pb2.ErrorInfo()
    for packed in status.details:
        if packed.Unpack(info):
            break
    return str(info.reason)


async def refused(running: Running, job: str, **fields: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await predict(running, job, **fields)
    return reason(caught.value), str(caught.value.details())


def num_kept(running: Running) -> int:
    with running.server.database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(predictions)).scalar_one())


async def test_a_worker_answers_by_another_server(
    start: Start, broker_url: str, tmp_path: Path
) -> None:
    running = await start(broker_url=broker_url, predict_time=timedelta(minutes=5))
    other = await start(broker_url=broker_url)
    job = await ended_job(running, tmp_path / "blobs")
    # What a server has left that was killed in the middle of a call.
    with running.server.database.write() as tx:
        values = {"id": "old", "token": "t", "expire_time": 1, "request": b"", "worker": ""}
        tx.connection.execute(insert(predictions).values(values))
    with running_worker(broker_url, other.server.address):
        response = await predict_once_there(running, job)
        # The rows as they came, the job's attempt, and what a second worker was told.
        assert response.table.content == b"rooms\n4\n1,ABORTED\n"
        assert response.table.format == PredictionTable.CSV
        assert (response.num_rows, response.worker) == (1, "w1")
        tsv = await predict(running, job, output_format=PredictionTable.TSV)
        assert tsv.table.format == PredictionTable.TSV
        for kind, expected in {
            "TABLE": "UNFIT_TABLE",
            "MODEL": "UNUSABLE_MODEL",
            "TOO_LARGE": "PREDICTION_TOO_LARGE",
            "TOO_SLOW": "PREDICTION_TIMEOUT",
        }.items():
            why, text = await refused(running, job, id_column=kind)
            assert why == expected
            assert "the column tax is missing\\x1b[2J" in text
        why, text = await refused(running, job, id_column="KIND_UNSPECIFIED")
        assert (why, text) == (
            "PREDICTION_FAILED",
            "predicting failed on w1, whose log has the reason",
        )
        assert num_kept(running) == 0


async def test_a_silent_worker_is_given_up(start: Start, broker_url: str, tmp_path: Path) -> None:
    running = await start(broker_url=broker_url, predict_time=timedelta(seconds=5))
    job = await ended_job(running, tmp_path / "blobs")
    with running_worker(broker_url, running.server.address):
        await predict_once_there(running, job)
        why, text = await refused(running, job, id_column="silent")
        assert why == "PREDICTION_TIMEOUT"
        assert text.startswith("w1 has not answered within 5 s: try again with fewer rows")
        assert num_kept(running) == 0


async def test_busy_workers_are_named(start: Start, broker_url: str, tmp_path: Path) -> None:
    running = await start(broker_url=broker_url, predict_time=timedelta(seconds=3))
    job = await ended_job(running, tmp_path / "blobs")
    with running_worker(broker_url, running.server.address, busy="it is predicting"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await predict_once_there(running, job)
        assert reason(caught.value) == "WORKERS_BUSY"
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "w1@here: it is predicting" in str(caught.value.details())


async def test_without_a_worker_the_caller_is_told_at_once(
    start: Start, broker_url: str, tmp_path: Path
) -> None:
    running = await start(broker_url=broker_url)
    job = await ended_job(running, tmp_path / "blobs")
    why, text = await refused(running, job)
    assert why == "NO_WORKER"
    assert "start one with `talweg worker`" in text
    assert num_kept(running) == 0


async def test_only_so_many_wait(
    start: Start, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talweg.server.services.predictions._MOST_WAITING", 2)
    running = await start(broker_url=broker_url)
    job = await ended_job(running, tmp_path / "blobs")
    answers = await asyncio.gather(*[refused(running, job) for _ in range(5)])
    reasons = sorted(why for why, _ in answers)
    assert reasons == ["NO_WORKER"] * 2 + ["WORKERS_BUSY"] * 3
    assert (await refused(running, job))[0] == "NO_WORKER"


async def test_a_prediction_that_a_worker_has_lost_is_given_out_again(
    start: Start, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talweg.server.services.predictions._TAKE_WITHIN_S", 0.5)
    running = await start(broker_url=broker_url, predict_time=timedelta(minutes=5))
    job = await ended_job(running, tmp_path / "blobs")
    with running_worker(broker_url, running.server.address, num_lost=2):
        response = await predict_once_there(running, job)
    assert response.num_rows == 1


async def test_without_a_broker_the_caller_is_told(start: Start, tmp_path: Path) -> None:
    running = await start(broker_url="redis://127.0.0.1:1/0")
    job = await ended_job(running, tmp_path / "blobs")
    why, text = await refused(running, job)
    assert (why, text) == (
        "BROKER_UNAVAILABLE",
        "the broker does not answer: no worker can be asked",
    )


async def test_a_job_without_a_model_says_why(running: Running, tmp_path: Path) -> None:
    job = await ended_job(running, tmp_path / "blobs", model=False)
    why, text = await refused(running, job)
    assert why == "ARTIFACT_NOT_READY"
    assert "its outputs.model is false" in text
    submitted = await running.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=spec()))
    why, text = await refused(running, submitted.job.name)
    assert why == "ARTIFACT_NOT_READY"
    assert "is QUEUED" in text
    assert (await refused(running, "jobs/none"))[0] == "JOB_NOT_FOUND"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"table": None}, "table.content: must not be empty"),
        (
            {"table": PredictionTable(content=b"1" * (MAX_TABLE_BYTES + 1))},
            "table.content: must have <= 1,048,576 bytes, but has 1,048,577",
        ),
        (
            {"table": PredictionTable(content=b"a\n1\n", format=9)},  # type: ignore[arg-type]
            "table.format: must be one of CSV, TSV, PARQUET, NPZ, ZIP, but got 9",
        ),
        ({"output_format": 9}, "output_format: must be one of CSV, TSV, PARQUET, NPZ, ZIP, but"),
        ({"as_array": True}, "as_array: needs output_format NPZ, but that is CSV"),
        ({"id_column": "a\nb"}, "id_column: must not contain control characters"),
        ({"id_column": "a" * 1001}, "id_column: must have <= 1000 characters"),
        ({"job": "diabetes"}, "job: a job's name must be jobs/ID"),
    ],
)
async def test_what_cannot_be_is_refused_before_anybody_is_asked(
    running: Running, fields: dict[str, Any], said: str
) -> None:
    why, text = await refused(running, fields.pop("job", "jobs/any"), **fields)
    assert why == "INVALID_REQUEST"
    assert text.startswith(said)


async def test_only_the_secret_takes_and_finishes_a_prediction(
    running: Running, tmp_path: Path
) -> None:
    with running.server.database.write() as tx:
        values = {
            "id": "p",
            "token": "secret",
            "expire_time": tx.now + 10**9,
            "request": b"",
            "worker": "",
        }
        tx.connection.execute(insert(predictions).values(values))
    take = workers_pb2.TakePredictionRequest(prediction="p", token="guess", worker="w1")
    finish = workers_pb2.FinishPredictionRequest(prediction="p", token="guess")
    finish.response.num_rows = 1
    with pytest.raises(grpc.aio.AioRpcError) as taken:
        await running.workers.TakePrediction(take)
    with pytest.raises(grpc.aio.AioRpcError) as finished:
        await running.workers.FinishPrediction(finish)
    assert reason(taken.value) == reason(finished.value) == "STALE_PREDICTION"
    take.token = "secret"
    # An answer that was lost is asked for again.
    for _ in range(2):
        await running.workers.TakePrediction(take)
    finish.token = "secret"
    finish.response.table.content = b"1" * 4_000_001
    with pytest.raises(grpc.aio.AioRpcError, match="must have <= 4,000,000 bytes"):
        await running.workers.FinishPrediction(finish)
    finish.ClearField("result")
    with pytest.raises(grpc.aio.AioRpcError, match="result: must be response or failure"):
        await running.workers.FinishPrediction(finish)
