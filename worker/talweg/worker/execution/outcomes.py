"""How an attempt ended, as the server is told."""

import errno
import os
import traceback

import torch

from talweg.spec import SpecError
from talweg.spec.local.room import is_full
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker.errors import UserSpecError
from talweg.worker.training import Result, Stop

_MAX_MESSAGE = 4000
_MAX_TRACEBACK = 9000
# As `threading` and `faulthandler` say it.
_NO_THREAD = ("can't start new thread", "unable to start watchdog thread")


def of_result(result: Result) -> Outcome:
    """Return what the training loop says."""
    outcome = Outcome(
        state=result.state,
        cause=result.cause,
        message=result.message[:_MAX_MESSAGE],
        weights_step=result.weights_step,
    )
    if result.divergence is not None:
        outcome.divergence.CopyFrom(result.divergence)
    if result.replay is not None:
        outcome.replay.CopyFrom(result.replay)
    return outcome


def of_error(error: BaseException) -> Outcome:
    """Return what an exception means, and whose fault it is.

    A full disk is the machine's trouble, and so is its limit of processes: the job goes back to
    the queue.
    """
    message = f"{type(error).__name__}: {error}"
    cause = Outcome.SERVICE
    if _is_disk_full(error):
        return Outcome(
            state=Job.QUEUED,
            cause=cause,
            message=f"the worker's disk is full: free space there, or start a worker elsewhere. "
            f"{message}"[:_MAX_MESSAGE],
        )
    if _is_process_limit(error):
        return Outcome(
            state=Job.QUEUED,
            cause=cause,
            message="the worker cannot start a process or a thread, since its machine's limit is "
            "reached (ulimit -u, or pids.max of its container): raise it, or start a worker "
            f"elsewhere. {message}"[:_MAX_MESSAGE],
        )
    if isinstance(error, (UserSpecError, SpecError)):
        cause, message = Outcome.USER_SPEC, str(error)
    elif isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        cause = Outcome.OUT_OF_MEMORY
        message = "out of memory: try a smaller training.batch_size or a smaller model. " + message
    return Outcome(state=Job.FAILED, cause=cause, message=message[:_MAX_MESSAGE])


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return is_full(error)
    # Libraries that are not of Python's making have errors of their own.
    return os.strerror(errno.ENOSPC) in str(error)


def _is_process_limit(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):
        return str(error).startswith(_NO_THREAD)
    return isinstance(error, BlockingIOError)


def of_stop(stop: Stop) -> Outcome:
    """Return what a stop means for an attempt that could not answer it itself."""
    match stop.reason:
        case "cancel":
            return Outcome(state=Job.CANCELLED, cause=Outcome.CANCEL_REQUEST, message=stop.detail)
        case "time_limit":
            return Outcome(
                state=Job.FAILED,
                cause=Outcome.TIME_LIMIT,
                message=f"resources.time_limit_seconds was reached: {stop.detail}",
            )
        case "pause":
            return Outcome(state=Job.PAUSED, message=stop.detail)
        case "shutdown" | "lost":
            return Outcome(state=Job.QUEUED, message=stop.detail)


def traceback_of(error: BaseException) -> str:
    """Return an exception's traceback, its end where it is long."""
    return "".join(traceback.format_exception(error))[-_MAX_TRACEBACK:]
