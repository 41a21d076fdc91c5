"""Services with a fault in them: what the simulator is there to find."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.server import Kinds

from talweg.server.errors import DatabaseUnavailable
from talweg.server.services.attempts import endings
from talweg.server.services.attempts.leases import LeaseClaim, LeaseService
from talweg.server.services.attempts.reaper import Reaper
from talweg.server.services.attempts.reports import Report, apply
from talweg.server.services.cancellation import CancellationService
from talweg.server.services.watching import WatchService
from talweg.server.store import events, jobs, leases
from talweg.server.store.record.clock import SECOND
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import Event, Job, Outcome


class NoLeaseCheck(LeaseService):
    """Takes the reports of any attempt."""

    def _report(self, tx: Transaction, id_: str, lease: LeaseClaim, report: Report) -> Any:
        row = jobs.lock(tx, id_)
        apply(tx, row, report, lease_until=row.lease_until)


class ForgetsSequence(LeaseService):
    """Takes a report again that it has."""

    def _report(self, tx: Transaction, id_: str, lease: LeaseClaim, report: Report) -> Any:
        if report.sequence:
            # As if it were a new one.
            report = replace(report, sequence=jobs.lock(tx, id_).report_sequence + 1)
        return super()._report(tx, id_, lease, report)


class SkipsEventNumber(LeaseService):
    """Leaves out a number after a pause was asked for."""

    def _report(self, tx: Transaction, id_: str, lease: LeaseClaim, report: Report) -> Any:
        order = super()._report(tx, id_, lease, report)
        row = jobs.lock(tx, id_)
        if order is not None and report.events:
            jobs.change(tx, row, last_cursor=row.last_cursor + 1)
        return order


class AnswersBeforeCommit(LeaseService):
    """Says that a report was taken, though the transaction has failed."""

    async def report(self, lease: LeaseClaim, report: Report) -> Any:
        try:
            return await super().report(lease, report)
        except DatabaseUnavailable:
            return None


class DropsLastReport(LeaseService):
    """Ends jobs without what their last report says."""

    async def finish(self, lease: LeaseClaim, outcome: Outcome, last: Report | None) -> None:
        await super().finish(lease, outcome, None)


class GrantsOldClaims(LeaseService):
    """Answers a claim that is sent again with jobs that it has lost since."""

    _claims: Mapping[str, Sequence[JobRow]] = {}

    async def claim(self, **wanted: Any) -> list[JobRow]:
        id_ = wanted["request_id"]
        if id_ not in self._claims:
            self._claims = {**self._claims, id_: await super().claim(**wanted)}
        return list(self._claims[id_])


class Impatient(Reaper):
    """Takes jobs from workers two seconds after their last report."""

    async def look(self) -> None:
        def reap(tx: Transaction) -> None:
            later = replace(tx, now=tx.now + 4 * SECOND)
            for row in leases.overdue(later, limit=100):
                endings.lose(tx, row, "too late", max_lost_attempts=100)

        await self._database.writing(reap)


class Asleep(Reaper):
    """Does not look for lost workers."""

    async def look(self) -> None:
        pass


class CancelsEnded(CancellationService):
    """Cancels jobs that have ended."""

    async def cancel(self, name: str, **how: Any) -> JobRow:
        def again(tx: Transaction) -> JobRow | None:
            row = jobs.lock(tx, name.removeprefix("jobs/"))
            if not row.ended:
                return None
            outcome = Outcome(state=Job.CANCELLED, cause=Outcome.CANCEL_REQUEST)
            cursor = events.append(tx, row, [Event(finished=outcome)])
            return jobs.change(tx, row, state=int(outcome.state), last_cursor=cursor)

        return await self._database.writing(again) or await super().cancel(name, **how)


class TrustsMemory(WatchService):
    """Gives watchers what is told, and does not look for what is missing."""

    async def _watch(self, id_: str, after: int) -> AsyncGenerator[Event]:
        row = await self._database.reading(jobs.get, id_)
        with self._hub.subscribe(id_, position=after) as subscription:
            told = await self._database.reading(events.after, row.seq, after, limit=1000)
            while True:
                for event in told:
                    subscription.position = event.cursor
                    yield event
                    if event.HasField("finished"):
                        return
                told = [each for each in [await subscription.next()] if each is not None]


PLANTED: Mapping[str, Kinds] = {
    kind.__name__: Kinds(**{part: kind})  # type: ignore[arg-type]
    for part, kind in (
        ("leases", NoLeaseCheck),
        ("leases", ForgetsSequence),
        ("leases", SkipsEventNumber),
        ("leases", AnswersBeforeCommit),
        ("leases", DropsLastReport),
        ("leases", GrantsOldClaims),
        ("reaper", Impatient),
        ("reaper", Asleep),
        ("cancellation", CancelsEnded),
        ("watching", TrustsMemory),
    )
}
"""What has a fault, by the name of its class."""
