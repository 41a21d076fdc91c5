"""The answers of sessions: looks that are due are taken, written down, and all decided anew.

A decision follows from the looks in the record, and a look from jobs in an order that was fixed
before their values were known. So it is the same whoever asks, how often, and on which server.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from talweg.server.queries import pages
from talweg.server.services.arguments import count, session_of
from talweg.server.services.comparison.process import StatisticsProcess
from talweg.server.services.sessions.pairing import PairReader, Pairs
from talweg.server.services.sessions.registering import best_of, may_change_best
from talweg.server.services.sessions.testing import num_tests, results
from talweg.server.services.sessions.wording import answer_message
from talweg.server.store import sessions
from talweg.server.store.jobs import NewJob
from talweg.server.store.record.clock import to_timestamp
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.session_rows import ProposalRow, SessionRow
from talweg.v1.sessions_pb2 import Session, SessionAnswer

_DEFAULT_PAGE, _MAX_PAGE = 50, 1000
# Others may write down the same looks at the same time.
_TRIES = 5


@dataclass(frozen=True)
class SessionPage:
    """Part of a list of sessions."""

    sessions: Sequence[Session]
    """The newest first."""
    next_token: str
    """Where the list goes on; empty at its end."""


@dataclass(frozen=True)
class _Read:
    """What is read of the record."""

    row: SessionRow
    proposals: Sequence[ProposalRow]
    pairs: Mapping[int, Pairs]

    @property
    def in_line(self) -> list[ProposalRow]:
        """The proposals that have a share, by their places."""
        return sorted((each for each in self.proposals if each.place), key=lambda p: p.place)

    @property
    def asked(self) -> dict[str, Any]:
        """The question as talweg.statistics reads it."""
        return {
            "error": self.row.error,
            "proposals": [
                _asked(each, self.pairs.get(each.number, Pairs())) for each in self.in_line
            ],
        }


class SessionService:
    """Answers what was proposed in sessions."""

    def __init__(self, database: Database, process: StatisticsProcess) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            process: Computes the statistics.
        """
        self._database = database
        self._process = process
        self._reader = PairReader()

    async def get(self, name: str) -> Session:
        """Return a session with its answers, and write down the looks that are due.

        Args:
            name: `sessions/{id}`.

        Raises:
            SessionNotFound: Nothing has named it.
            InvalidRequest: That is not a session's name.
            InternalError: The statistics failed; the log says how.
        """
        return await self.of(session_of(name))

    async def of(self, id_: str) -> Session:
        """Return the session with an id; see `get`."""
        for _ in range(_TRIES):
            read = await self._database.reading(self._read, id_)
            found = await self._process.ask(read.asked)
            if not _is_news(read, found):
                break
            # Read again once it is written: what was kept is now the best.
            await self._database.writing(_write, id_, read, found)
        return await self._database.reading(_message, read, found)

    async def take_looks(self, new: Sequence[NewJob]) -> None:
        """Take the looks that are due in the sessions of new jobs, before these are taken.

        What a new setting is compared with must not depend on whether somebody has asked.

        Args:
            new: The jobs.

        Raises:
            InternalError: The statistics failed; the log says how.
        """
        for id_ in sorted({job.session for job in new if job.session}):
            if await self._database.reading(may_change_best, id_, new):
                await self.of(id_)

    async def list_page(self, *, page_size: int, page_token: str) -> SessionPage:
        """List sessions, the newest first, as the looks up to now decide.

        Args:
            page_size: At most so many.
            page_token: From the page before; empty for the first.

        Raises:
            BadPageToken: The token is none that this service gave.
            InvalidRequest: The page size is out of bounds.
        """
        size = count(page_size, field="page_size", most=_MAX_PAGE, default=_DEFAULT_PAGE)
        before = int(pages.decode(page_token, [], (int,))[0]) if page_token else None

        def read(connection: Connection) -> list[_Read]:
            rows = sessions.newest(connection, before=before, limit=size + 1)
            return [_Read(row, sessions.proposals(connection, row.seq), {}) for row in rows]

        listed = await self._database.reading(read)
        messages = []
        for each in listed[:size]:
            found = await self._process.ask(each.asked)
            messages.append(await self._database.reading(_summary, each, found))
        token = pages.encode([listed[size - 1].row.seq], []) if len(listed) > size else ""
        return SessionPage(messages, token)

    def _read(self, connection: Connection, id_: str) -> _Read:
        row = sessions.get(connection, id_)
        proposals = sessions.proposals(connection, row.seq)
        return _Read(row, proposals, self._reader.read(connection, row, proposals))


def _asked(row: ProposalRow, pairs: Pairs) -> dict[str, Any]:
    return {
        "differences": list(pairs.differences),
        "looks": json.loads(row.looks),
        "is_planned": bool(row.sweep),
        "is_complete": pairs.is_complete,
        "higher_is_better": pairs.is_high,
        "overlap": pairs.overlap,
    }


def _is_news(read: _Read, found: Mapping[str, Any]) -> bool:
    return any(
        json.loads(row.looks) != each["looks"] or row.decision != _decision(each)
        for row, each in zip(read.in_line, found["proposals"], strict=True)
    )


def _decision(found: Mapping[str, Any]) -> int:
    return int(SessionAnswer.Decision.Value(found["decision"])) if found["looks"] else 0


def _write(tx: Transaction, id_: str, read: _Read, found: Mapping[str, Any]) -> None:
    """Write down looks and decisions where nothing has changed since they were read."""
    session = sessions.lock(tx, id_)
    if sessions.proposals(tx.connection, session.seq) != list(read.proposals):
        return
    for row, each in zip(read.in_line, found["proposals"], strict=True):
        sessions.change_proposal(
            tx, row, looks=json.dumps(each["looks"]), decision=_decision(each)
        )
    best = best_of(session, sessions.proposals(tx.connection, session.seq))
    if best is not None:
        sessions.change(tx, session, best=best.number)


def _message(connection: Connection, read: _Read, found: Mapping[str, Any]) -> Session:
    message = _summary(connection, read, found)
    message.answers.extend(
        answer_message(each, read.pairs[each.number], of_proposal)
        for each, of_proposal in zip(read.in_line, found["proposals"], strict=True)
    )
    if read.row.close_time is not None:
        message.tests.extend(results(connection, read.row, read.proposals))
    return message


def _summary(connection: Connection, read: _Read, found: Mapping[str, Any]) -> Session:
    """Return a session without its answers and test results."""
    row = read.row
    message = Session(
        name=row.name,
        state=Session.OPEN,
        create_time=to_timestamp(row.create_time),
        error=row.error,
        spent=found["spent"],
        left=found["left"],
        next_level=found["next_level"],
        next_least_pairs=found["next_least_pairs"],
        num_answers=len(read.in_line),
    )
    best = best_of(row, read.proposals)
    if best is not None:
        message.best = best.label
    if row.close_time is not None:
        message.close_time.CopyFrom(to_timestamp(row.close_time))
        message.num_untested, message.num_failed_tests = num_tests(connection, row)
        message.state = Session.CLOSING if message.num_untested else Session.CLOSED
    return message
