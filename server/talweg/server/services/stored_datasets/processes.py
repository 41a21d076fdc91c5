"""Processes that the server starts for what it does not do itself, each with a time limit."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

TIME_IS_UP = (None, -signal.SIGXCPU, -signal.SIGALRM)
"""How a process ends by the limit of its call, and by those that it has set itself."""


@dataclass(frozen=True)
class Ended:
    """How a process has ended."""

    status: int | None
    """Its exit status; None where its time was up."""
    output: bytes
    """What it has written to standard output."""
    errors: bytes
    """What it has written to standard error."""


async def run_module(
    module: str, request: bytes, *, environment: Mapping[str, str], seconds: float
) -> Ended:
    """Run a module of Python as a program; it ends with its call.

    Args:
        module: Its name.
        request: Its standard input.
        environment: Its variables.
        seconds: How long it may take.
    """
    # -P: the working folder must not shadow modules.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(request), seconds)
    except TimeoutError:
        return Ended(None, b"", b"")
    finally:
        if process.returncode is None:
            # The whole group, which its session is.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Ended(process.returncode, output, errors)
