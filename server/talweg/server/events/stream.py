"""Events told between servers, over one Redis stream.

The stream is trimmed, may be emptied at any time, and skips silently from a trimmed id: watchers
go by the events' own numbers and read the record where one is missing.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from talweg.server.broker import redis_url
from talweg.spec.broker import KEY_PREFIX
from talweg.v1.jobs_pb2 import Event

log = logging.getLogger(__name__)

KEY = f"{KEY_PREFIX}events"
_MAX_LENGTH = 10_000
_EXPIRES_S = 3600
_MAX_BACKLOG = 5_000
_BLOCK_MS = 1_000
_RETRY_S = 1.0

Told = Callable[[str, Sequence[Event]], None]


class EventStream:
    """Sends this server's events to the others, and hands on theirs. One reader a process."""

    def __init__(self, url: str, on_events: Told) -> None:
        """Connect to nothing yet.

        Args:
            url: The broker's URL.
            on_events: Called on the event loop with a job's id and events of another server.
        """
        self._on_events = on_events
        self._origin = secrets.token_hex(8)
        # A reader's read waits for up to _BLOCK_MS, so its timeout is longer than a writer's.
        self._reader = redis.asyncio.Redis.from_url(redis_url(url), socket_timeout=5)
        self._writer = redis.asyncio.Redis.from_url(redis_url(url), socket_timeout=2)
        # The oldest are lost when Redis is away for long; the record has them.
        self._backlog: deque[Mapping[str, str | bytes]] = deque(maxlen=_MAX_BACKLOG)
        self._waiting = asyncio.Event()

    def offer(self, job: str, events: Sequence[Event]) -> None:
        """Queue events to be sent soon; never block, never fail.

        Args:
            job: The job's id.
            events: In the order of their cursors.
        """
        entry: dict[str, str | bytes] = {"job": job, "origin": self._origin}
        entry.update((f"e{event.cursor}", event.SerializeToString()) for event in events)
        self._backlog.append(entry)
        self._waiting.set()

    async def write(self) -> None:
        """Send what is offered, until cancelled."""
        answers = True
        while True:
            await self._waiting.wait()
            entries = [self._backlog.popleft() for _ in range(min(len(self._backlog), 200))]
            if not self._backlog:
                self._waiting.clear()
            try:
                pipeline = self._writer.pipeline(transaction=False)
                for entry in entries:
                    pipeline.xadd(KEY, dict(entry), maxlen=_MAX_LENGTH, approximate=True)  # type: ignore[arg-type]
                pipeline.expire(KEY, _EXPIRES_S)
                await pipeline.execute()
                if not answers:
                    log.info("writing to the event stream works again")
                answers = True
            except (RedisError, OSError) as exc:
                # Not sent again: whoever waits for these events reads the record by now.
                if answers:
                    log.warning("cannot write to the event stream: %s", exc)
                answers = False
                await asyncio.sleep(_RETRY_S)

    async def read(self) -> None:
        """Hand on what other servers send, until cancelled."""
        position: str | bytes | None = None
        while True:
            try:
                if position is None:
                    newest: Any = await self._reader.xrevrange(KEY, count=1)
                    position = newest[0][0] if newest else "0-0"
                streams: Any = await self._reader.xread({KEY: position}, block=_BLOCK_MS)
            except (RedisError, OSError):
                # `write` tells of it in the log. After a wipe old positions mean nothing.
                position = None
                await asyncio.sleep(_RETRY_S)
                continue
            for _, entries in streams or ():
                for entry_id, fields in entries:
                    position = entry_id
                    self._hand_on(fields)

    def _hand_on(self, fields: Mapping[bytes, bytes]) -> None:
        if fields.get(b"origin") == self._origin.encode():
            return
        try:
            job = fields[b"job"].decode()
            events = [
                Event.FromString(value)
                for name, value in fields.items()
                if name not in (b"job", b"origin")
            ]
        except Exception:
            log.exception("cannot read an entry of the event stream")
            return
        self._on_events(job, events)

    async def close(self) -> None:
        """Close the connections; `read` and `write` must have ended."""
        await self._reader.aclose()
        await self._writer.aclose()
