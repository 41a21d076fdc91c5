"""Answers a prediction: fetches the model, has it computed apart, and reads what came out."""

import hashlib
import logging
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from talweg.blobs import Blobs, StoredArtifact, job_blobs, read_artifacts
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.spec.local.environment import without_secrets
from talweg.spec.predictions import ENDINGS, MAX_PREDICTIONS_BYTES
from talweg.v1.workers_pb2 import FinishPredictionRequest, TakePredictionResponse
from talweg.worker.confinement.apart import run_apart
from talweg.worker.confinement.confining import MODE, READ
from talweg.worker.errors import NoModelError
from talweg.worker.predicting import folder as files
from talweg.worker.settings import OFFLINE, Settings

Failure = FinishPredictionRequest.Failure

_READ_BYTES = 2**20
_MOST_LOGGED = 4000
_MIB = 2**20
# What a process without memory ends by, or says last.
_KILLED = (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV)
_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"t allocate memory", b"cannot map zero-fill pages")
# Whatever the worker may use, a quick look is for one core and no GPU.
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
}

log = logging.getLogger(__name__)


def answer(
    order: TakePredictionResponse,
    result: FinishPredictionRequest,
    settings: Settings,
    *,
    until: float,
) -> None:
    """Fill in what a prediction gives: predictions, or why there are none.

    Args:
        order: What to predict.
        result: To be filled in.
        settings: The worker's.
        until: When it must be done, by `time.monotonic()`.
    """
    with tempfile.TemporaryDirectory(prefix="talweg-predict-") as name:
        try:
            _answer(order, result, settings, Path(name), until)
        except TimeoutError:
            _fail(
                result,
                Failure.TOO_SLOW,
                "predicting takes longer than TALWEG_PREDICT_SECONDS of the server allows: send "
                "fewer rows at once, or download the model",
            )
        except NoModelError as exc:
            _fail(result, Failure.MODEL, str(exc))
        except OSError:
            log.exception("a prediction failed")
            _fail(result, Failure.KIND_UNSPECIFIED, "")


def _answer(
    order: TakePredictionResponse,
    result: FinishPredictionRequest,
    settings: Settings,
    folder: Path,
    until: float,
) -> None:
    request = order.request
    _fetch(order, settings.blobs, folder / files.MODEL, until)
    table = folder / f"{files.TABLE}{ENDINGS[request.table.format]}"
    table.write_bytes(request.table.content)
    request.table.ClearField("content")
    (folder / files.ORDER).write_bytes(order.SerializeToString())
    status, errors = _compute(folder, settings.predict_memory_bytes, until)
    path = folder / files.RESULT
    if status == 0 and path.exists():
        result.MergeFromString(path.read_bytes())
        if result.HasField("response"):
            _attach(result, folder / f"{files.PREDICTIONS}{ENDINGS[request.output_format]}")
            result.response.table.format = request.output_format
        return
    if status in _KILLED or any(text in errors for text in _OF_MEMORY):
        limit = settings.predict_memory_bytes // _MIB
        _fail(
            result,
            Failure.TOO_LARGE,
            f"predicting takes more memory than the {limit:,} MiB that "
            "TALWEG_PREDICT_MEMORY_BYTES of the worker allows, or the machine has too little: "
            "send fewer rows at once, or download the model",
        )
        return
    text = errors[-_MOST_LOGGED:].decode(errors="replace")
    log.error("a prediction of %s ended with status %s: %s", request.job, status, text)
    _fail(result, Failure.KIND_UNSPECIFIED, "")


def _attach(result: FinishPredictionRequest, path: Path) -> None:
    num_bytes = path.stat().st_size
    if num_bytes <= MAX_PREDICTIONS_BYTES:
        result.response.table.content = path.read_bytes()
        return
    _fail(
        result,
        Failure.TOO_LARGE,
        f"the predictions take {num_bytes:,} bytes, and a response holds "
        f"{MAX_PREDICTIONS_BYTES:,}: send fewer rows at once, or download the model",
    )


def _compute(folder: Path, memory_bytes: int, until: float) -> tuple[int, bytes]:
    """Return the status of the process that predicts, and what it said of errors."""
    seconds = max(0.1, until - time.monotonic())
    arguments = [
        *("-m", "talweg.worker.predicting.computing"),
        *(str(os.getpid()), str(folder), str(memory_bytes), str(seconds)),
    ]
    # Where plug-ins of models are, but no credentials.
    environment = without_secrets("PYTHONPATH", MODE, READ) | {"TMPDIR": str(folder)}
    try:
        done = run_apart(arguments, env=environment | _ENVIRONMENT | OFFLINE, seconds=seconds)
    except subprocess.TimeoutExpired as exc:
        raise TimeoutError from exc
    if done.returncode == -signal.SIGXCPU:
        raise TimeoutError
    return done.returncode, done.stderr


def _fetch(order: TakePredictionResponse, url: str, folder: Path, until: float) -> None:
    """Write the files of a job's model into a folder, checked by their digests."""
    job, prefix = order.request.job, f"{files.MODEL}/"
    try:
        blobs = job_blobs(url, order.project or DEFAULT_PROJECT)
        stored = read_artifacts(blobs, job, last=order.attempt).files
        for file in (each for each in stored if each.path.startswith(prefix)):
            _fetch_file(blobs, file, folder / file.path.removeprefix(prefix), until)
    except TimeoutError:
        raise
    except (ValueError, OSError, ImportError) as exc:
        # Its text may hold paths and credentials.
        log.error("the model of %s cannot be read from the blob store: %s", job, exc)
        raise NoModelError(
            f"the model of {job} cannot be read from the worker's blob store; the worker's log "
            "has the reason"
        ) from exc


def _fetch_file(blobs: Blobs, file: StoredArtifact, path: Path, until: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, start = hashlib.sha256(), 0
    with path.open("wb") as target, blobs.reading(file.blob) as read:
        while content := read(start, min(_READ_BYTES, file.num_bytes - start)):
            target.write(content)
            digest.update(content)
            start += len(content)
            if time.monotonic() > until:
                raise TimeoutError
    if digest.hexdigest() != file.sha256:
        raise NoModelError(
            f"{file.path} is damaged in the blob store: its sha256 is not the one that was "
            "written. Submit the job again"
        )


def _fail(result: FinishPredictionRequest, kind: Failure.Kind.ValueType, message: str) -> None:
    result.failure.CopyFrom(Failure(kind=kind, message=message))
