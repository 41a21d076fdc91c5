"""Threads and processes, and what it means that the system refuses one."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

from talweg.server.errors import ProcessLimit


def started_threads(number: int, *, name: str) -> ThreadPoolExecutor:
    """Return an executor all of whose threads run.

    One that starts them when they are needed fails then, where the system's limit of processes is
    reached meanwhile.

    Args:
        number: How many.
        name: What their names begin with.

    Raises:
        RuntimeError: The system refuses one.
    """
    executor = ThreadPoolExecutor(number, thread_name_prefix=name)
    together = threading.Barrier(number)
    try:
        wait([executor.submit(together.wait) for _ in range(number)])
    except RuntimeError:
        # Those that run would wait for the others for good, and the process's end for them.
        together.abort()
        executor.shutdown(wait=False)
        raise
    return executor


def as_process_limit(error: Exception) -> ProcessLimit | None:
    """Return what an error means to callers; None where it is of another kind.

    Args:
        error: As Python raises it where a thread or a process cannot be started.
    """
    is_thread = isinstance(error, RuntimeError) and "can't start new thread" in str(error)
    if not (is_thread or isinstance(error, BlockingIOError)):
        return None
    return ProcessLimit(
        "the server cannot start a process or a thread, since its machine's limit is reached "
        "(ulimit -u, or pids.max of its container); try again, or have the limit raised"
    )
