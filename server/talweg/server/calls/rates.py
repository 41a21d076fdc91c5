"""How many calls a second the holder of a token may make."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from talweg.server.errors import RateLimited
from talweg.server.identity.caller import Caller
from talweg.server.identity.methods import Access, Role

BURST_S: Final = 10.0
"""Who was quiet for so many seconds may make the calls of all of them at once."""

# Buckets that are full again say nothing, and are thrown away where there are more than this.
_MOST_BUCKETS = 10_000


@dataclass(frozen=True)
class Rates:
    """Calls a second of one token; 0 for as many as it likes."""

    reads: int = 0
    """Calls that change nothing."""

    writes: int = 0
    """Calls that change something."""

    worker_calls: int = 0
    """All calls of a worker's token, which many workers may share."""


@dataclass
class _Bucket:
    left: float
    time: float


class RateLimiter:
    """A token bucket for each token and kind of call. For the event loop's thread alone.

    Each server counts for itself: what it protects is its own time.
    """

    def __init__(self, rates: Rates, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with full buckets.

        Args:
            rates: What tokens may do.
            clock: Gives the time in seconds.
        """
        self._clock = clock
        self._rates = {
            "reads": rates.reads,
            "changes": rates.writes,
            "calls of workers": rates.worker_calls,
        }
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, caller: Caller, access: Access) -> None:
        """Count a call.

        Callers without a token are not told apart, and not limited.

        Args:
            caller: Who calls.
            access: The method's entry in the table: what it weighs.

        Raises:
            RateLimited: The token has made too many calls, and there is no room for this one.
        """
        if not caller.is_authenticated:
            return
        if caller.role == Role.WORKER:
            kind = "calls of workers"
        else:
            kind = "changes" if access.is_audited else "reads"
        rate = self._rates[kind]
        if not rate:
            return
        most, now = rate * BURST_S, self._clock()
        # A token of the server's own files has no id, but a description that says which.
        key = (caller.token or f" {caller.description}", kind)
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[key] = _Bucket(most, now)
        bucket.left = min(most, bucket.left + rate * (now - bucket.time))
        bucket.time = now
        # A call that weighs more than a bucket holds would wait for ever.
        weight = min(access.weight, most)
        if bucket.left < weight:
            seconds = math.ceil(1000 * (weight - bucket.left) / rate) / 1000
            raise RateLimited(
                f"a token may make {rate:,} {kind} a second, and {most:,.0f} at once after a "
                f"pause, but this one has made more: try again in {seconds:.3f} s",
                retry_after=timedelta(seconds=seconds),
            )
        bucket.left -= weight

    def _make_room(self, now: float) -> None:
        if len(self._buckets) >= _MOST_BUCKETS:
            self._buckets = {
                key: bucket for key, bucket in self._buckets.items() if bucket.time > now - BURST_S
            }
