"""Keeps the keys of an issuer, and fetches them again beside the calls that wait for none."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from talweg.server.errors import IssuerUnavailable
from talweg.server.identity.oidc.documents import IssuerError
from talweg.server.identity.oidc.keys import PublicKey

log = logging.getLogger(__name__)

PAUSE_S = 5.0
"""Tokens under unknown keys have the keys fetched at most once in so long, in seconds."""
_RETRY_S = 15.0
# More than the two documents may take together.
_PATIENCE_S = 20.0
# An issuer that has been away for longer may have withdrawn a key.
_MOST_AGE_S = 24 * 3600.0

Keys = tuple[PublicKey, ...]


class KeyCache:
    """The keys of an issuer, as they were when it answered last."""

    def __init__(self, issuer: str, fetch: Callable[[], Keys], *, refresh_s: float) -> None:
        """Keep where the keys come from; fetch nothing yet.

        Args:
            issuer: Its URL, for messages.
            fetch: Fetches the keys, or raises IssuerError. It is called in a thread.
            refresh_s: How often they are fetched again, in seconds.
        """
        self._issuer = issuer
        self._fetch = fetch
        self._refresh_s = refresh_s
        self._keys: Keys = ()
        self._fetched_at = self._asked_at = float("-inf")
        self._is_away = False
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Fetch the keys again and again, for good: so a withdrawn one stops to hold."""
        try:
            while True:
                await self._renewed()
                pause = min(self._refresh_s, _RETRY_S) if self._is_away else self._refresh_s
                await asyncio.sleep(pause)
        finally:
            if self._running is not None:
                self._running.cancel()

    @property
    def all(self) -> Keys:
        """All keys that hold."""
        return self._keys if time.monotonic() < self._fetched_at + _MOST_AGE_S else ()

    def named(self, id_: str) -> Sequence[PublicKey]:
        """Return the keys of a name; all of them for the empty one.

        Args:
            id_: As the token says.
        """
        return [key for key in self.all if not id_ or key.id == id_]

    async def wait_for_fetch(self) -> None:
        """Wait for the fetch that runs, if one does.

        It may have begun before the issuer changed its keys, so `renew` can still find more.

        Raises:
            IssuerUnavailable: It does not answer, so that nobody knows whether the key is its.
        """
        if self._running is not None:
            await self._renewed()
            self._check_answered()

    async def renew(self) -> None:
        """Fetch the keys again for a token that none of them fits.

        Nothing is fetched where that was done for another such token a moment ago: whoever makes
        up keys must not have the issuer asked for each.

        Raises:
            IssuerUnavailable: It does not answer, so that nobody knows whether the key is its.
        """
        now = time.monotonic()
        is_due = now >= self._asked_at + PAUSE_S
        if is_due:
            self._asked_at = now
        if is_due or self._running is not None:
            await self._renewed()
        self._check_answered()

    def _check_answered(self) -> None:
        if self._is_away:
            raise IssuerUnavailable(
                f"the token cannot be checked: its key is not known yet, and the issuer "
                f"{self._issuer} does not answer the server. Try again later, or use a token of "
                "`talweg token create`; why it fails stands in the server's log"
            )

    async def _renewed(self) -> None:
        """Wait until the keys were fetched once; all who wait share one fetch."""
        if self._running is None:
            self._running = asyncio.create_task(self._fetch_once())
        running = self._running
        # Not wait_for, which would cancel it for the others.
        await asyncio.wait({running}, timeout=_PATIENCE_S)
        if not running.done():
            self._is_away = True

    async def _fetch_once(self) -> None:
        try:
            keys = await _in_thread(self._fetch)
        except IssuerError as exc:
            if not self._is_away:
                log.warning("the keys of %s cannot be fetched: %s", self._issuer, exc)
            self._is_away = True
        except Exception:
            log.exception("the keys of %s cannot be fetched", self._issuer)
            self._is_away = True
        else:
            if self._is_away:
                log.info("the keys of %s were fetched again", self._issuer)
            self._is_away = False
            self._fetched_at = time.monotonic()
            if keys != self._keys:
                self._keys = keys
        finally:
            self._running = None


async def _in_thread(function: Callable[[], Keys]) -> Keys:
    """Call a function in a thread that keeps no server from ending, unlike one of a pool."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Keys] = loop.create_future()

    def settle(keys: Keys | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        elif keys is not None:
            future.set_result(keys)

    def call() -> None:
        keys, error = None, None
        try:
            keys = function()
        except Exception as exc:
            error = exc
        with suppress(RuntimeError):  # The loop has ended: nobody waits any more.
            loop.call_soon_threadsafe(settle, keys, error)

    threading.Thread(target=call, name="issuer-keys", daemon=True).start()
    return await future
