"""Keeps as many wake-up messages on the broker as there are jobs to claim, up to a limit.

A worker claims again and again after one message, so few suffice. A message may be spent on a
worker that finds the job taken, or on one that had just stopped asking: as long as jobs wait, the
dispatcher looks every second and sends more where messages are missing, so no job waits for good.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from talweg.server.errors import BrokerUnavailable, DatabaseUnavailable
from talweg.server.queueing.outage import Outage
from talweg.server.queueing.wake_ups import WakeUps
from talweg.server.store import queues
from talweg.server.store.record.clock import SECOND
from talweg.server.store.record.database import Database
from talweg.spec.broker import DEFAULT_QUEUE

log = logging.getLogger(__name__)

MAX_WAKE_UPS = 64
INTERVAL_S = 1.0
# Where a queue holds more than messages are sent for, one job more changes nothing: hundreds of
# submissions a second would have it counted again and again.
_CROWDED_PAUSE_S = 0.1
# So many times as long as the count takes, which grows with the queue.
_CROWDED_PAUSES = 9
_MAX_BACKOFF_S = 5.0


class Dispatcher:
    """Wakes workers for waiting jobs, outside of any call: submitting works without a broker."""

    def __init__(self, database: Database, wake_ups: WakeUps) -> None:
        """Begin idle.

        Args:
            database: The record.
            wake_ups: Sends the messages.
        """
        self._database = database
        self._wake_ups = wake_ups
        # Of its own: Redis may take its timeout to fail, and nothing else is to wait for it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wake-up")
        self._woken = asyncio.Event()
        self._broker = Outage(
            log, "the broker is unreachable, jobs wait", "the broker is reachable again"
        )
        self._record = Outage(
            log, "cannot look for waiting jobs", "looking for waiting jobs works again"
        )
        self._longest_wait_s = 0.0
        self._is_crowded = False
        self._count_s = 0.0

    @property
    def broker_answers(self) -> bool:
        """Whether the broker answered when it was last asked."""
        return self._broker.num_failures == 0

    @property
    def longest_wait_s(self) -> float:
        """How long the job that waits longest had waited when it was last looked."""
        return self._longest_wait_s

    def wake(self) -> None:
        """Look at the queues now: there is a new job to claim."""
        self._woken.set()

    async def run(self) -> None:
        """Send messages, until cancelled."""
        while True:
            pause = min(INTERVAL_S * 2 ** min(self._broker.num_failures, 3), _MAX_BACKOFF_S)
            try:
                if not self.broker_answers:
                    # New jobs do not make a broker answer.
                    await asyncio.sleep(pause)
                else:
                    async with asyncio.timeout(pause):
                        await self._woken.wait()
            except TimeoutError:
                pass
            if self._is_crowded:
                pause = max(_CROWDED_PAUSE_S, _CROWDED_PAUSES * self._count_s)
                await asyncio.sleep(min(INTERVAL_S, pause))
            self._woken.clear()
            try:
                await self.top_up()
            except DatabaseUnavailable as exc:
                self._record.failed(exc)
            else:
                self._record.passed()

    async def top_up(self) -> None:
        """Send messages for jobs that have none.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        started = time.monotonic()
        waiting = await self._database.reading(queues.waiting)
        self._count_s = time.monotonic() - started
        self._longest_wait_s = max((each.age for each in waiting.values()), default=0) / SECOND
        wanted = {queue: min(each.num_jobs, MAX_WAKE_UPS) for queue, each in waiting.items()}
        self._is_crowded = MAX_WAKE_UPS in wanted.values()
        if not wanted and self.broker_answers:
            return
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._send, wanted)
        except BrokerUnavailable as exc:
            self._broker.failed(exc)
        else:
            self._broker.passed()

    def _send(self, wanted: dict[str, int]) -> None:
        # With nothing wanted this still asks, and so learns whether the broker is back.
        depths = self._wake_ups.depths(wanted or [DEFAULT_QUEUE])
        for queue, num in wanted.items():
            if num > depths[queue]:
                self._wake_ups.send(queue, num - depths[queue])

    def close(self) -> None:
        """Wait for a running look; `run` must have ended."""
        self._thread.shutdown()
        self._wake_ups.close()
