"""What Celery logs, in the words of this service."""

import logging
import re

from billiard.exceptions import WorkerLostError

from talweg.worker.deaths import killed_by

_SIGNAL = re.compile(r"signal (\d+)")


def lost_child_in_a_line(record: logging.LogRecord) -> bool:
    """Return a logging filter that tells of a lost child by one line.

    Celery tells of it by its own traceback, which shows where it noticed, not what happened.

    Args:
        record: Of any kind; changed where it tells of a lost child.

    Returns:
        True: nothing is left out.
    """
    error = record.args[0] if isinstance(record.args, tuple) and record.args else None
    if isinstance(error, WorkerLostError):
        why = str(error).removeprefix("Worker exited prematurely: ").partition(" Job: ")[0]
        if number := _SIGNAL.match(why):
            why = killed_by(int(number[1]))
        record.msg = (
            "the process that runs jobs was lost (%s): another one replaces it, and its job runs "
            "again"
        )
        record.args = (why,)
        record.exc_info = record.exc_text = None
    return True
