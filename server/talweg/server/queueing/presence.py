"""Which queues have a worker: asked of Celery's workers, only while jobs wait."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from talweg.server.broker import TIMEOUT_S
from talweg.server.queueing.dispatcher import Dispatcher

_logger = logging.getLogger(__name__)

_ANSWER_WITHIN_S = 1.0
_ASK_AFTER_S = 2.0
_KEEP_S = 5.0


class Presence:
    """What is known of the workers and the broker."""

    def __init__(self, app: Celery, dispatcher: Dispatcher) -> None:
        """Knows nothing yet.

        Args:
            app: Celery.
            dispatcher: Knows how long jobs wait, and whether the broker answers.
        """
        self._app = app
        self._dispatcher = dispatcher
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inspect")
        self._served: frozenset[str] | None = None
        self._known_at = -_KEEP_S

    @property
    def broker_answers(self) -> bool:
        """Whether the broker answered when it was last asked."""
        return self._dispatcher.broker_answers

    def has_worker(self, queue: str) -> bool | None:
        """Tells whether a worker serves a queue; None where that is not known.

        Args:
            queue: Its name.
        """
        if self._served is None or time.monotonic() - self._known_at > 2 * _KEEP_S:
            return None
        return queue in self._served

    async def run(self) -> None:
        """Asks every few seconds while a job waits, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            waits = self._dispatcher.longest_wait_s > _ASK_AFTER_S
            if not waits or not self.broker_answers:
                continue
            if time.monotonic() - self._known_at < _KEEP_S:
                continue
            try:
                served = await loop.run_in_executor(self._thread, self._ask)
            except (OperationalError, RedisError, OSError) as exc:
                _logger.info("the workers cannot be asked for: %s", exc)
                served = None
            self._served, self._known_at = served, time.monotonic()

    def _ask(self) -> frozenset[str]:
        with self._app.connection_for_write(connect_timeout=TIMEOUT_S) as connection:
            inspect = self._app.control.inspect(timeout=_ANSWER_WITHIN_S, connection=connection)
            answers: dict[str, list[dict[str, Any]]] = inspect.active_queues() or {}
        return frozenset(queue["name"] for queues in answers.values() for queue in queues)

    def close(self) -> None:
        """Waits for a running question; `run` must have ended."""
        self._thread.shutdown()
