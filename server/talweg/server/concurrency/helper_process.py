"""A process that computes for the server: started when needed, and kept for the next question.

numpy and what builds on it run in such processes alone; importing them takes about a second.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from talweg.server.concurrency.threads import as_process_limit
from talweg.server.errors import InternalError
from talweg.spec.local.environment import without_secrets

log = logging.getLogger(__name__)

_SECONDS = 120.0
_IDLE_SECONDS = 300.0
_MOST_BYTES = 64 * 2**20
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class HelperProcess:
    """Answers one question at a time."""

    def __init__(self, module: str, what: str) -> None:
        """Start nothing yet.

        Args:
            module: Is run by `python -m`. Reads a question as a line of JSON from its standard
                input, and writes the answer as a line to its standard output; a question that
                fails is answered by an object with `error`, and why.
            what: What it computes, in words, for the log.
        """
        self._module = module
        self._what = what
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Have a question answered; wait where another is being answered.

        Args:
            question: As the module reads it.

        Raises:
            InternalError: The process failed, or took too long; the log says how.
        """
        line = json.dumps(question).encode() + b"\n"
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            try:
                answer: dict[str, Any] = await asyncio.wait_for(self._answer(line), _SECONDS)
            except (OSError, RuntimeError, ValueError, TimeoutError) as exc:
                if as_process_limit(exc) is not None:
                    await self._end()
                    raise
                log.error("%s failed: %r", self._what, exc)
                await self._end()
                raise InternalError from exc
            except BaseException:
                # Its answer would be taken for that of the next question.
                await self._end()
                raise
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(_IDLE_SECONDS, self._kill)
        if "error" in answer:
            log.error("%s failed: %s", self._what, answer["error"])
            raise InternalError
        return answer

    async def close(self) -> None:
        """End the process, if there is one."""
        if self._idle is not None:
            self._idle.cancel()
        await self._end()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await _started(self._module)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        await process.stdin.drain()
        reply = await process.stdout.readline()
        if not reply.endswith(b"\n"):
            raise ValueError(f"the process ended with status {await process.wait()}")
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def _kill(self) -> asyncio.subprocess.Process | None:
        """Kill the process, and forget it at once: the next question must not be written to it."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        return process

    async def _end(self) -> None:
        process = self._kill()
        if process is not None:
            await process.wait()


async def _started(module: str) -> asyncio.subprocess.Process:
    # -P: the working folder must not shadow modules. Its end of input is the end of this process.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**without_secrets(), **dict.fromkeys(_ONE_THREAD, "1")},
        start_new_session=True,
        limit=_MOST_BYTES,
    )
