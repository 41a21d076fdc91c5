"""Predictions on a worker, for callers without PyTorch: a call waits until a worker has answered.

The rows go into the record, a worker is told by the broker, takes them by a call of its own, and
answers by another. This process looks neither at rows nor at predictions.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from datetime import timedelta

from talweg.server.errors import (
    InvalidRequest,
    NoWorker,
    PredictionFailed,
    PredictionTimeout,
    PredictionTooLarge,
    ServerError,
    StalePrediction,
    UnfitTable,
    UnusableModel,
    WorkersBusy,
)
from talweg.server.queueing.predicting import PredictionControl
from talweg.server.services.arguments import MAX_WORKER_CHARS, text
from talweg.server.services.artifacts import ArtifactService
from talweg.server.services.free_text import readable
from talweg.server.services.plugins import PluginService
from talweg.server.store import predictions
from talweg.server.store.record.clock import microseconds
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import JobRow
from talweg.spec.broker import PredictArguments
from talweg.spec.plugins import plugin_uses
from talweg.spec.predictions import ENDINGS, MAX_PREDICTIONS_BYTES, most_bytes
from talweg.v1.plugins_pb2 import PluginDeclaration
from talweg.v1.predictions_pb2 import PredictionTable, PredictRequest, PredictResponse
from talweg.v1.workers_pb2 import FinishPredictionRequest, TakePredictionResponse

_MAX_COLUMN_CHARS = 1000
_MAX_ID_CHARS = 100
# How soon an answer is seen that came to another server.
_LOOK_S = 0.5
_ASK_AGAIN_S = 0.5
# A worker must have time to say that its own is up.
_TO_REPORT_S = 1.0
_LEAST_S = 0.5
# Whoever has not taken it by then has lost it, as a worker that was killed has.
_TAKE_WITHIN_S = 15.0
_MOST_NAMED = 3
# Workers are asked one call after another, and each row that waits holds its table.
_MOST_WAITING = 16

Failure = FinishPredictionRequest.Failure
_ERRORS: dict[int, type[ServerError]] = {
    Failure.MODEL: UnusableModel,
    Failure.TOO_LARGE: PredictionTooLarge,
    Failure.TOO_SLOW: PredictionTimeout,
}


class PredictionService:
    """Takes predictions from callers to workers, and back."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactService,
        plugins: PluginService,
        control: PredictionControl,
        *,
        time_limit: timedelta,
    ) -> None:
        """Ask nobody yet.

        Args:
            database: The record.
            artifacts: The files of jobs.
            plugins: Which plug-ins workers have.
            control: Has workers predict.
            time_limit: Of a call.
        """
        self._database = database
        self._artifacts = artifacts
        self._plugins = plugins
        self._control = control
        self._seconds = time_limit.total_seconds()
        # A row beyond it belongs to a server that has ended in the middle of a call.
        self._lifetime = 2 * microseconds(time_limit)
        self._answered: dict[str, asyncio.Event] = {}

    async def predict(self, request: PredictRequest, *, caller: str) -> PredictResponse:
        """Predict for a table on a worker.

        Args:
            request: As it came.
            caller: Who asks; equal texts are one caller.

        Raises:
            InvalidRequest: The request is at fault; UnfitTable where only the worker could see it.
            JobNotFound: There is no such job.
            ArtifactNotReady: It has no model, or not yet.
            ArtifactNotFound: It has left no model.
            NoWorker: No worker answers.
            WorkersBusy: All are predicting.
            UnusableModel: The worker cannot load the model.
            PredictionTooLarge: It takes too much memory, or the predictions are too large.
            PredictionTimeout: It takes too long.
            PredictionFailed: It failed on the worker.
            Unavailable: The record, the broker or the blob store does not answer.
        """
        until = time.monotonic() + self._seconds
        filled = _checked(request)
        if len(self._answered) >= _MOST_WAITING:
            raise WorkersBusy(
                f"{_MOST_WAITING} predictions are waiting for workers already. Try again later"
            )
        id_ = secrets.token_hex(16)
        self._answered[id_] = asyncio.Event()
        try:
            row = await self._artifacts.job_with_model(request.job, caller=caller)
            order = TakePredictionResponse(
                request=filled, attempt=row.attempt, spec=row.job_spec, project=row.project
            )
            state = await self._carried_out(id_, row, order, until)
        finally:
            del self._answered[id_]
        if state.answer is None:
            who = f"{state.worker} has not" if state.worker else "no worker has"
            raise PredictionTimeout(
                f"{who} answered within {self._seconds:g} s: try again with fewer rows, or have "
                "TALWEG_PREDICT_SECONDS of the server raised"
            )
        return _result(FinishPredictionRequest.FromString(state.answer), state.worker)

    async def take(self, id_: str, *, token: str, worker: str) -> TakePredictionResponse:
        """Give a prediction to a worker.

        Args:
            id_: The prediction's.
            token: Its secret.
            worker: The worker's name.

        Raises:
            InvalidRequest: A text is too long, or names no worker.
            StalePrediction: Nobody waits for it, or another worker has it.
        """
        _check_secret(id_, token)
        text(worker, field="worker", most=MAX_WORKER_CHARS, required=True)
        order = await self._database.writing_relaxed(
            predictions.take, id_, token=token, worker=worker
        )
        if order is None:
            raise _stale()
        return TakePredictionResponse.FromString(order)

    async def finish(self, request: FinishPredictionRequest) -> None:
        """Take what a worker has answered.

        Args:
            request: As it came.

        Raises:
            InvalidRequest: It holds no result, or one that is too large.
            StalePrediction: Nobody waits for it.
        """
        _check_secret(request.prediction, request.token)
        if request.WhichOneof("result") is None:
            raise InvalidRequest.of("result", "must be response or failure, but is absent")
        num_bytes = len(request.response.table.content)
        if num_bytes > MAX_PREDICTIONS_BYTES:
            raise InvalidRequest.of(
                "response.table.content",
                f"must have <= {MAX_PREDICTIONS_BYTES:,} bytes, but has {num_bytes:,}",
            )
        if not await self._database.writing_relaxed(
            predictions.finish,
            request.prediction,
            token=request.token,
            answer=request.SerializeToString(),
        ):
            raise _stale()
        if (answered := self._answered.get(request.prediction)) is not None:
            answered.set()

    async def _carried_out(
        self, id_: str, row: JobRow, order: TakePredictionResponse, until: float
    ) -> predictions.PredictionState:
        """Have a worker predict, and return what it has answered, or what there is in the end."""
        token = secrets.token_hex(16)
        try:
            await self._database.writing_relaxed(
                predictions.add,
                id_,
                token=token,
                request=order.SerializeToString(),
                lifetime=self._lifetime,
            )
            while True:
                await self._start(row, id_, token, until)
                state = await self._wait(id_, until)
                if state.worker or time.monotonic() >= until:
                    return state
        finally:
            await asyncio.shield(self._database.writing_relaxed(predictions.remove, id_))

    async def _start(self, row: JobRow, id_: str, token: str, until: float) -> None:
        """Have one worker predict; wait while all are busy."""
        workers = await self._able(row)
        is_second = False
        while True:
            answers = await self._control.ask(workers)
            if not answers and is_second:
                raise NoWorker(
                    "no worker answers that could predict: start one with `talweg worker`, or see "
                    "`talweg workers`. A model can be downloaded without one: `talweg get`"
                )
            is_second = not answers
            left = until - time.monotonic() - _TO_REPORT_S
            for worker in (each for each, why in answers.items() if not why and left > _LEAST_S):
                arguments = PredictArguments(prediction=id_, token=token, seconds=left)
                # A silent one may have begun, and then has it: no other could take it as well.
                if not await self._control.start(worker, arguments):
                    return
            if left <= _LEAST_S:
                told = [f"{each}: {why}" for each, why in sorted(answers.items())[:_MOST_NAMED]]
                raise WorkersBusy(
                    f"no worker could predict within {self._seconds:g} s: {'; '.join(told)}. Try "
                    "again later"
                )
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _able(self, row: JobRow) -> Sequence[str] | None:
        """Return the workers that have what the model needs; None if all do."""
        needed = {
            use.message.name
            for use in plugin_uses(row.job_spec)
            if use.kind.number == PluginDeclaration.MODEL
        }
        if not needed:
            return None
        workers = [
            each.worker
            for each in await self._plugins.told()
            if all(_has(each.find(PluginDeclaration.MODEL, name)) for name in needed)
        ]
        if not workers:
            raise NoWorker(
                f"no worker has the model plug-in {', '.join(sorted(needed))}, which this model "
                "needs: pip install its package beside a worker, and restart the worker"
            )
        return workers

    async def _wait(self, id_: str, until: float) -> predictions.PredictionState:
        """Return the answer, or what there is when the time is up or nobody has taken it."""
        answered, taken_until = self._answered[id_], time.monotonic() + _TAKE_WITHIN_S
        while True:
            state = await self._database.reading(predictions.state, id_)
            left = (until if state.worker else min(until, taken_until)) - time.monotonic()
            if state.answer is not None or left <= 0:
                return state
            try:
                async with asyncio.timeout(min(left, _LOOK_S)):
                    await answered.wait()
            except TimeoutError:
                continue


def _checked(request: PredictRequest) -> PredictRequest:
    """Return a request with every default filled in, or raise what is wrong with it."""
    filled = PredictRequest()
    filled.CopyFrom(request)
    filled.table.format = _format(request.table.format, "table.format")
    num_bytes, most = len(request.table.content), most_bytes(filled.table.format)
    if num_bytes > most:
        what = "pictures" if filled.table.format == PredictionTable.ZIP else "rows"
        raise InvalidRequest.of(
            "table.content",
            f"must have <= {most:,} bytes, but has {num_bytes:,}: send fewer {what} at once, or "
            "download the model",
        )
    if not num_bytes:
        raise InvalidRequest.of("table.content", "must not be empty: send the rows of a table")
    text(request.id_column, field="id_column", most=_MAX_COLUMN_CHARS)
    filled.output_format = _format(request.output_format, "output_format")
    if request.as_array and filled.output_format != PredictionTable.NPZ:
        raise InvalidRequest.of(
            "as_array",
            "needs output_format NPZ, but that is "
            f"{PredictionTable.Format.Name(filled.output_format)}",
        )
    return filled


def _format(number: int, field: str) -> PredictionTable.Format.ValueType:
    if number == PredictionTable.FORMAT_UNSPECIFIED:
        return PredictionTable.CSV
    if number not in ENDINGS:
        allowed = ", ".join(PredictionTable.Format.Name(each) for each in ENDINGS)  # type: ignore[arg-type]
        raise InvalidRequest.of(field, f"must be one of {allowed}, but got {number}")
    return PredictionTable.Format.ValueType(number)


def _check_secret(id_: str, token: str) -> None:
    text(id_, field="prediction", most=_MAX_ID_CHARS, required=True)
    text(token, field="token", most=_MAX_ID_CHARS, required=True)


def _result(answer: FinishPredictionRequest, worker: str) -> PredictResponse:
    if answer.HasField("response"):
        response = answer.response
        response.worker = worker
        return response
    failure = readable(answer.failure)
    if failure.kind == Failure.TABLE:
        raise UnfitTable.of("table", failure.message)
    if failure.kind in _ERRORS:
        raise _ERRORS[failure.kind](failure.message)
    raise PredictionFailed(f"predicting failed on {worker}, whose log has the reason")


def _stale() -> StalePrediction:
    return StalePrediction("nobody waits for this prediction any more, or another worker has it")


def _has(plugin: PluginDeclaration | None) -> bool:
    """Return whether a worker has a plug-in that it could load."""
    return plugin is not None and not plugin.problem
