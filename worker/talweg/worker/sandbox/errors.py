"""What a job's process raises, as the worker raises it again."""

import errno
from collections.abc import Mapping
from typing import Any

from talweg.worker.errors import WorkerError
from talweg.worker.training.distributed.launcher import ProcessLostError

_MEMORY = "OutOfMemoryError"


class SandboxedError(WorkerError):
    """An error of a job's process that nobody foresaw."""


def raised_again(told: Mapping[str, Any]) -> Exception:
    """Return the error that a job's process has ended by.

    Args:
        told: What the process says of it.
    """
    kind, text, number = str(told["kind"]), str(told["text"]), told["errno"]
    error: Exception
    if told["is_memory"] or kind == _MEMORY:
        error = MemoryError(text)
    elif kind == ProcessLostError.__name__:
        error = ProcessLostError(text)
    elif isinstance(number, int) and number in errno.errorcode:
        error = OSError(number, text)
    else:
        error = SandboxedError(f"{kind}: {text}")
    error.add_note(str(told["traceback"]))
    return error
