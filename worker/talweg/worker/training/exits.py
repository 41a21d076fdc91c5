"""Code of a job that would end its process, and with it the worker's."""

import traceback

from google.protobuf.message import Message

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.losses_pb2 import Plugin
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training.interface import Result


def of_exit(error: BaseException, spec: JobSpec) -> Result:
    """Return the end of a job whose code has raised what is no error, such as `SystemExit`.

    Args:
        error: What was raised.
        spec: The job's: with a plug-in in it, the fault is the plug-in's.
    """
    (*_, last) = traceback.format_exception_only(error)
    message = f"code of the job would end its process by {last.strip()}"
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        where = frames[-1]
        message += f', in {where.name} ("{where.filename}", line {where.lineno})'
    if not _has_plugin(spec):
        return Result(Job.FAILED, Outcome.SERVICE, message)
    message += ". A plug-in must raise an error instead, such as ValueError"
    return Result(Job.FAILED, Outcome.USER_SPEC, message)


def _has_plugin(message: Message) -> bool:
    if isinstance(message, Plugin):
        return True
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        is_map = field.message_type.GetOptions().map_entry
        parts = value.values() if is_map else value if field.is_repeated else [value]
        if any(isinstance(part, Message) and _has_plugin(part) for part in parts):
            return True
    return False
