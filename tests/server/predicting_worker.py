"""A Celery worker for tests that predicts nothing: it answers as the id column tells it."""

import itertools
import os
import threading
from typing import Any

import grpc
from celery import Celery
from celery.worker.control import control_command, inspect_command

from talweg.spec.broker import CAN_PREDICT, KEY_PREFIX, PREDICT
from talweg.v1.predictions_pb2 import PredictionTable, PredictResponse
from talweg.v1.workers_pb2 import FinishPredictionRequest, TakePredictionRequest
from talweg.v1.workers_pb2_grpc import WorkerServiceStub

Failure = FinishPredictionRequest.Failure

_started = itertools.count()

app = Celery("talweg", broker=os.environ["TALWEG_BROKER_URL"])
app.conf.update(
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": KEY_PREFIX},
)


@inspect_command(name=CAN_PREDICT)  # type: ignore[untyped-decorator]
def can_predict(_state: Any) -> str:
    return os.environ["WHY_BUSY"]


@control_command(  # type: ignore[untyped-decorator]
    name=PREDICT, args=[("prediction", str), ("token", str), ("seconds", float)]
)
def predict(_state: Any, prediction: str, token: str, seconds: float) -> str:
    if next(_started) >= int(os.environ["NUM_LOST"]):
        threading.Thread(target=_answer, args=(prediction, token), daemon=True).start()
    return ""


def _answer(prediction: str, token: str) -> None:
    with grpc.insecure_channel(os.environ["TALWEG_ADDRESS"]) as channel:
        workers = WorkerServiceStub(channel)
        order = workers.TakePrediction(
            TakePredictionRequest(prediction=prediction, token=token, worker="w1")
        )
        try:
            workers.TakePrediction(
                TakePredictionRequest(prediction=prediction, token=token, worker="w2")
            )
            second = "has it too"
        except grpc.RpcError as error:
            second = error.code().name
        how = order.request.id_column
        if how == "silent":
            return
        result = FinishPredictionRequest(prediction=prediction, token=token)
        if how in Failure.Kind.keys():
            result.failure.kind = Failure.Kind.Value(how)
            result.failure.message = "the column tax is missing\x1b[2J"
        else:
            content = order.request.table.content + f"{order.attempt},{second}\n".encode()
            table = PredictionTable(format=order.request.output_format, content=content)
            # Whose it is, the server knows itself.
            result.response.CopyFrom(PredictResponse(table=table, num_rows=1, worker="other"))
        workers.FinishPrediction(result)
