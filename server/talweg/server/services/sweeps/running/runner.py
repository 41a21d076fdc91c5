"""Has each sweep go on, from what the record holds alone: a server may end at any time."""

import asyncio
import logging
from contextlib import suppress

from talweg.server.errors import DatabaseUnavailable
from talweg.server.queueing.outage import Outage
from talweg.server.services.cancellation import cancel_for_sweep
from talweg.server.services.comparison.process import StatisticsProcess
from talweg.server.services.search.asking import AskingService
from talweg.server.services.submission.submit import SubmissionService
from talweg.server.services.sweeps.plans import Plans
from talweg.server.services.sweeps.running.deciding import DecidingService
from talweg.server.services.sweeps.running.pairing import prune_by_seeds
from talweg.server.services.sweeps.running.pruning import decide, note_ended, reached
from talweg.server.services.sweeps.running.submitting import Submitter
from talweg.server.services.sweeps.settling import settle
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import SweepRow
from talweg.server.store.record.scope import acting_in
from talweg.server.store.sweeps import sweeps, trials
from talweg.spec.sweeps import Plan
from talweg.v1.sweeps_pb2 import Sweep

log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
# Ends of jobs come in bursts: one look for several of them. A look that takes long is for many
# jobs, and is followed by a pause of several times its length: workers need the time themselves.
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.03, 0.5
_PAUSE_BY_LOOK = 4
_CANNOT_GO_ON = "cannot go on, and is tried again each second; the server's log says why"


class SweepRunner:
    """Settles what has ended and submits what is next. Several servers may each have one."""

    def __init__(
        self,
        database: Database,
        submission: SubmissionService,
        asking: AskingService,
        statistics: StatisticsProcess,
    ) -> None:
        """Begin idle.

        Args:
            database: The record.
            submission: Takes the jobs.
            asking: Finds the settings of new trials.
            statistics: Decides whether compared values need more seeds.
        """
        self._database = database
        self._deciding = DecidingService(database, statistics)
        self._submitter = Submitter(database, submission, asking)
        self._plans = Plans()
        self._woken = asyncio.Event()
        self._record = Outage(log, "sweeps cannot go on", "sweeps go on again")

    def wake(self) -> None:
        """Look at the sweeps soon: a job has ended, or a sweep has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Run sweeps, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            begin = loop.time()
            try:
                busy = await self.step()
            except DatabaseUnavailable as exc:
                self._record.failed(exc)
                busy = False
            else:
                self._record.passed()
            pause = _PAUSE_BY_LOOK * (loop.time() - begin)
            await asyncio.sleep(min(max(pause, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S))
            if busy:
                continue
            try:
                async with asyncio.timeout(_INTERVAL_S):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()

    async def step(self) -> bool:
        """Have each sweep go on once.

        Returns:
            Whether there may be more to do at once.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        busy = False
        for id_ in await self._database.reading(sweeps.going_on):
            try:
                busy = await self._step(id_) or busy
            except DatabaseUnavailable:
                raise
            except Exception:
                # Of this sweep: the others go on.
                log.exception("sweep %s cannot go on", id_)
                # What failed may be the record itself.
                with suppress(Exception):
                    await self._database.writing_relaxed(_tell, id_, _CANNOT_GO_ON)
        return busy

    async def _step(self, id_: str) -> bool:
        row = await self._database.writing_relaxed(self._settle, id_)
        if row.state != Sweep.RUNNING or row.closing:
            return False
        # Its jobs are of its project, and refer to what is there.
        with acting_in(row.project):
            return await self._go_on(row)

    async def _go_on(self, row: SweepRow) -> bool:
        plan = self._plans.of(row)
        if plan.spec.pruning.HasField("asha"):
            await self._prune(row, plan)
        if plan.decides and row.is_final and await self._deciding.decide(row, plan):
            return True
        submitted = await self._submitter.submit_next(row, plan)
        if submitted and row.message == _CANNOT_GO_ON:
            await self._database.writing_relaxed(_tell, row.id, "goes on again")
        return submitted > 0

    async def _prune(self, row: SweepRow, plan: Plan) -> None:
        found = await self._database.reading(reached, row, plan)
        if found:
            await self._database.writing_relaxed(
                lambda tx: decide(tx, sweeps.lock(tx, row.id), plan, found)
            )

    def _settle(self, tx: Transaction, id_: str) -> SweepRow:
        row = sweeps.lock(tx, id_)
        if row.ended:
            return row
        was_closing = row.closing
        plan = self._plans.of(row)
        if plan.spec.pruning.HasField("asha"):
            note_ended(tx, row, plan)
        row = settle(tx, row, plan)
        is_going_on = row.state == Sweep.RUNNING and not row.closing
        if plan.spec.pruning.HasField("wilcoxon") and is_going_on:
            prune_by_seeds(tx, row, plan)
        if row.closing and not was_closing:
            for job in trials.open_jobs(tx.connection, row.seq):
                cancel_for_sweep(tx, job, f"the sweep ends: {row.message}")
        return row


def _tell(tx: Transaction, id_: str, message: str) -> None:
    """Say in a sweep how it goes, for whoever waits for it."""
    row = sweeps.lock(tx, id_)
    if row.state == Sweep.RUNNING and not row.closing and row.message != message:
        sweeps.change(tx, row, message=message)
