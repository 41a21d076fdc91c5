"""Writes down who changed what."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import DBAPIError

from talweg.server.errors import DatabaseUnavailable
from talweg.server.identity.caller import Caller
from talweg.server.queries import pages
from talweg.server.services.arguments import count
from talweg.server.store.identity import audit
from talweg.server.store.record.clock import from_datetime, microseconds
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import AuditRow

log = logging.getLogger(__name__)

_PAUSE_S = 0.2
_MOST_WAITING = 10_000
_KEPT = microseconds(timedelta(days=400))
_FORGET_EACH_S = 3600.0
_MOST_LISTED = 1000
_LISTED = 100


@dataclass(frozen=True)
class AuditPage:
    """A part of the log."""

    entries: Sequence[AuditRow]
    """The newest first."""

    next_token: str
    """For the entries behind these; empty if there are none."""


class AuditLog:
    """Takes entries, and writes them in the background: a call does not wait for its own.

    Each entry is written within a fraction of a second. Those that wait while the record is away
    are written later; so are those that wait when the server stops in order.
    """

    def __init__(self, database: Database) -> None:
        """Keep the record."""
        self._database = database
        self._waiting: list[AuditRow] = []
        self._num_lost = 0

    def add(self, caller: Caller, *, method: str, resource: str, peer: str, status: str) -> None:
        """Add an entry.

        Args:
            caller: Who called.
            method: What, such as talweg.v1.JobService/CancelJob.
            resource: What it was about.
            peer: The caller's address as gRPC gives it.
            status: How it ended.
        """
        if len(self._waiting) >= _MOST_WAITING:
            self._num_lost += 1
            return
        self._waiting.append(
            AuditRow(
                seq=0,
                time=0,
                token=caller.token,
                description=caller.description,
                project=caller.project,
                method=method,
                # It comes from the caller, and goes to an admin's terminal.
                resource="".join(c if c.isprintable() else "\ufffd" for c in resource),
                peer=peer.rpartition(":")[0] or peer,
                status=status,
            )
        )

    async def run(self) -> None:
        """Write what is added, and forget what is old, for good."""
        forget_at = 0.0
        while True:
            await asyncio.sleep(_PAUSE_S)
            await self.flush()
            if time.monotonic() > forget_at:
                with suppress(DatabaseUnavailable):
                    await self._database.writing_relaxed(audit.forget, older_than=_KEPT)
                    forget_at = time.monotonic() + _FORGET_EACH_S

    async def flush(self) -> None:
        """Write what waits, as far as the record answers."""
        entries, self._waiting = self._waiting, []
        if self._num_lost:
            log.error("%d audit entries were lost: the record was away", self._num_lost)
            self._num_lost = 0
        if not entries:
            return
        try:
            await self._database.writing_relaxed(audit.add, entries)
        except DatabaseUnavailable:
            self._waiting = entries + self._waiting
        except DBAPIError:
            log.exception("audit entries were refused, and are written one by one")
            for entry in entries:
                with suppress(DBAPIError):
                    await self._database.writing_relaxed(audit.add, [entry])

    async def page(
        self, *, project: str | None, since: datetime | None, page_size: int, page_token: str
    ) -> AuditPage:
        """Return a part of the log.

        Args:
            project: Of this project; of all if None.
            since: No entries before; all if None.
            page_size: At most so many; 0 for the default.
            page_token: Of the page before; empty for the newest entries.

        Raises:
            InvalidRequest: The size is out of bounds, or the token was not issued here.
        """
        size = count(page_size, field="page_size", most=_MOST_LISTED, default=_LISTED)
        first = 0 if since is None else from_datetime(since)
        arguments = [project or "", str(first)]
        before = None
        if page_token:
            before = int(pages.decode(page_token, arguments, [int])[0])
        rows = await self._database.reading(
            audit.list_newest, project=project, since=first, before=before, limit=size + 1
        )
        entries = rows[:size]
        more = len(rows) > size
        return AuditPage(entries, pages.encode([entries[-1].seq], arguments) if more else "")
