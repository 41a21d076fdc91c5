"""Which queues have a worker that takes jobs: asked of Celery's workers, only while jobs wait."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from talweg.server.broker import TIMEOUT_S
from talweg.server.queueing.dispatcher import Dispatcher
from talweg.spec.broker import WHY_UNFIT

log = logging.getLogger(__name__)

_ANSWER_WITHIN_S = 1.0
_ASK_AFTER_S = 2.0
_KEEP_S = 5.0
# Where the last two answers differ, the next one decides, and is asked for soon.
_ASK_AGAIN_S = 1.0

_MOST_SAID = 3

Served = Mapping[str, Mapping[str, str]]
"""The queues that are served: by which workers, and why each takes no jobs; empty if it does."""


@dataclass(frozen=True)
class WorkerAnswer:
    """What a worker says of itself."""

    queues: Sequence[str]
    """The queues that it takes jobs from."""

    unfit: str
    """Why it takes none now; empty if it does."""


class Presence:
    """What is known of the workers and the broker.

    On a busy machine a worker that is well may not answer in time. So a queue counts as without a
    worker only where two questions in a row found none.
    """

    def __init__(self, app: Celery, dispatcher: Dispatcher) -> None:
        """Know nothing yet.

        Args:
            app: Celery.
            dispatcher: Knows how long jobs wait, and whether the broker answers.
        """
        self._app = app
        self._dispatcher = dispatcher
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inspect")
        # Of the last questions in a row.
        self._answers: deque[Served] = deque(maxlen=2)
        self._asked_at = -_KEEP_S

    @property
    def broker_answers(self) -> bool:
        """Whether the broker answered when it was last asked."""
        return self._dispatcher.broker_answers

    def has_worker(self, queue: str) -> bool | None:
        """Return whether a worker serves a queue; None where that is not known.

        Args:
            queue: Its name.
        """
        if self._is_outdated:
            return None
        if any(queue in served for served in self._answers):
            return True
        return False if len(self._answers) == 2 else None

    def why_unfit(self, queue: str) -> str:
        """Say why all workers of a queue take no jobs; empty where one does, or is not known.

        Args:
            queue: Its name.
        """
        if self._is_outdated or not self._answers:
            return ""
        workers = self._answers[-1].get(queue, {})
        if not all(workers.values()):
            return ""
        return "; ".join(
            f"{worker}: {why}" for worker, why in sorted(workers.items())[:_MOST_SAID]
        )

    async def run(self) -> None:
        """Ask every few seconds while a job waits, until cancelled."""
        while True:
            await asyncio.sleep(1)
            waits = self._dispatcher.longest_wait_s > _ASK_AFTER_S
            if not waits or not self.broker_answers:
                continue
            is_sure = len(self._answers) == 2 and self._answers[0] == self._answers[1]
            pause = _KEEP_S if is_sure else _ASK_AGAIN_S
            if time.monotonic() - self._asked_at >= pause:
                await self.look()

    async def workers(self) -> Mapping[str, WorkerAnswer] | None:
        """Ask the workers now, and return those that answer by name; None without a broker.

        On a busy machine a worker that is well may not answer in time, so nobody is asked again.
        """
        for _ in range(2):
            await self.look()
            if not self._answers:
                return None
            if served := self._answers[-1]:
                return _by_worker(served)
        return {}

    async def look(self) -> None:
        """Ask the workers once."""
        if self._is_outdated:
            self._answers.clear()
        try:
            served = await asyncio.get_running_loop().run_in_executor(self._thread, self._ask)
        except (OperationalError, RedisError, OSError) as exc:
            log.info("cannot read which workers are connected: %s", exc)
            self._answers.clear()
        else:
            self._answers.append(served)
        self._asked_at = time.monotonic()

    @property
    def _is_outdated(self) -> bool:
        return time.monotonic() - self._asked_at > 2 * _KEEP_S

    def _ask(self) -> Served:
        with self._app.connection_for_write(connect_timeout=TIMEOUT_S) as connection:
            inspect = self._app.control.inspect(timeout=_ANSWER_WITHIN_S, connection=connection)
            answers: dict[str, list[dict[str, Any]]] = inspect.active_queues() or {}
            unfit = self._ask_why_unfit(list(answers), connection) if answers else {}
        served: dict[str, dict[str, str]] = {}
        for node, queues in answers.items():
            for queue in queues:
                served.setdefault(queue["name"], {})[node] = unfit.get(node, "")
        return served

    def _ask_why_unfit(self, nodes: list[str], connection: Any) -> dict[str, str]:
        replies: list[dict[str, Any]] = self._app.control.broadcast(
            WHY_UNFIT,
            destination=nodes,
            reply=True,
            limit=len(nodes),
            timeout=_ANSWER_WITHIN_S,
            connection=connection,
        )
        # A worker of an earlier version answers that it does not know the question.
        return {
            node: why
            for reply in replies or ()
            for node, why in reply.items()
            if isinstance(why, str)
        }

    def close(self) -> None:
        """Wait for a running question; `run` must have ended."""
        self._thread.shutdown()


def _by_worker(served: Served) -> Mapping[str, WorkerAnswer]:
    queues: dict[str, list[str]] = {}
    unfit: dict[str, str] = {}
    for queue, workers in sorted(served.items()):
        for worker, why in workers.items():
            queues.setdefault(worker, []).append(queue)
            unfit[worker] = why
    return {worker: WorkerAnswer(queues[worker], unfit[worker]) for worker in sorted(queues)}
