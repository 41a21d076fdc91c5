"""Wake-up messages on Celery: they wake a worker, which then asks the server for jobs.

What such a message is to both sides: `talweg.spec.broker`.
"""

from collections.abc import Iterable

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from talweg.server.broker import TIMEOUT_S, redis_url
from talweg.server.errors import BrokerUnavailable
from talweg.spec.broker import KEY_PREFIX, QUEUE_ARGUMENT, TASK


class WakeUps:
    """Puts wake-up messages on queues, and counts those that lie there. Blocks; for one thread."""

    def __init__(self, url: str, app: Celery) -> None:
        """Connect to nothing yet.

        Args:
            url: The broker's URL.
            app: Celery.
        """
        self._app = app
        self._redis = redis.Redis.from_url(
            redis_url(url),
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            # Once: a connection from before a restart of Redis fails at its first use.
            retry=Retry(NoBackoff(), 1),
        )

    def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Count the wake-up messages on queues.

        Asked of Redis itself each time, so that one whose data was lost gets new wake-up messages.

        Args:
            queues: Their names.

        Raises:
            BrokerUnavailable: The broker does not answer.
        """
        names = list(queues)
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for name in names:
                # Celery keeps a queue without priorities in a list of its name.
                pipeline.llen(KEY_PREFIX + name)
            return dict(zip(names, pipeline.execute(), strict=True))
        except (RedisError, OSError) as exc:
            raise BrokerUnavailable(str(exc)) from exc

    def send(self, queue: str, times: int) -> None:
        """Put wake-up messages on a queue.

        Args:
            queue: Its name.
            times: How many.

        Raises:
            BrokerUnavailable: The broker does not answer.
        """
        try:
            for _ in range(times):
                self._app.send_task(
                    TASK,
                    kwargs={QUEUE_ARGUMENT: queue},
                    queue=queue,
                    ignore_result=True,
                    retry=False,
                )
        except (OperationalError, RedisError, OSError) as exc:
            raise BrokerUnavailable(str(exc)) from exc

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._app.close()
