"""Code of a job that would end its process, and with it the worker's."""

import traceback

from talweg.spec.plugins import plugin_uses
from talweg.v1.jobs_pb2 import Job, Outcome
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
    if not any(plugin_uses(spec)):
        return Result(Job.FAILED, Outcome.SERVICE, message)
    message += ". A plug-in must raise an error instead, such as ValueError"
    return Result(Job.FAILED, Outcome.USER_SPEC, message)
