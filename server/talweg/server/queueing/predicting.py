"""Has workers predict: they are asked by Celery's remote control, which each answers at once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from talweg.server.broker import TIMEOUT_S
from talweg.server.errors import BrokerUnavailable
from talweg.spec.broker import CAN_PREDICT, PREDICT, PredictArguments

_ANSWER_WITHIN_S = 1.0
_MOST_REPLIES = 10_000
_EARLIER_VERSION = "it is of a version that does not predict: update it"


class _Enough(Exception):
    """No further answer is waited for."""


class PredictionControl:
    """Asks workers whether they can predict, and has one do it."""

    def __init__(self, app: Celery) -> None:
        """Ask nobody yet.

        Args:
            app: Celery; of this object alone, since late replies are thrown away.
        """
        self._app = app
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")

    async def ask(self, workers: Sequence[str] | None = None) -> Mapping[str, str]:
        """Return why workers cannot predict, by name; of one that can, an empty text.

        The first that answers suffices if it can. On a busy machine a worker that is well may not
        answer in time.

        Args:
            workers: Whom to ask; all if None.

        Raises:
            BrokerUnavailable: The broker does not answer.
        """
        return await self._send(CAN_PREDICT, workers, {}, is_enough=lambda answer: not answer)

    async def start(self, worker: str, arguments: PredictArguments) -> str | None:
        """Have a worker predict; return why it does not, empty if it does, None if it is silent.

        Args:
            worker: Its name.
            arguments: What it needs to know.

        Raises:
            BrokerUnavailable: The broker does not answer.
        """
        answers = await self._send(
            PREDICT, [worker], dict(arguments), is_enough=lambda answer: True
        )
        return answers.get(worker)

    async def _send(
        self,
        command: str,
        workers: Sequence[str] | None,
        arguments: dict[str, Any],
        *,
        is_enough: Callable[[str], bool],
    ) -> Mapping[str, str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, self._broadcast, command, workers, arguments, is_enough
        )

    def _broadcast(
        self,
        command: str,
        workers: Sequence[str] | None,
        arguments: dict[str, Any],
        is_enough: Callable[[str], bool],
    ) -> Mapping[str, str]:
        answers: dict[str, str] = {}

        def take(reply: dict[str, Any]) -> None:
            for worker, answer in reply.items():
                # One that does not know the command answers by an error.
                answers[worker] = answer if isinstance(answer, str) else _EARLIER_VERSION
                if is_enough(answers[worker]):
                    raise _Enough

        try:
            with (
                suppress(_Enough),
                self._app.connection_for_write(connect_timeout=TIMEOUT_S) as connection,
            ):
                self._app.control.broadcast(
                    command,
                    arguments=arguments,
                    destination=workers,
                    reply=True,
                    # Late replies to an earlier question count too.
                    limit=_MOST_REPLIES,
                    timeout=_ANSWER_WITHIN_S,
                    callback=take,
                    connection=connection,
                )
        except (OperationalError, RedisError, OSError) as exc:
            raise BrokerUnavailable("the broker does not answer: no worker can be asked") from exc
        finally:
            self._app.control.mailbox.unclaimed.clear()
        return answers

    def close(self) -> None:
        """Wait for a running question."""
        self._thread.shutdown()
        self._app.close()
