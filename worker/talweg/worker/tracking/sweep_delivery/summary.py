"""The summary of one sweep on its way to MLflow: made once, and written again at each end.

Whoever writes it may be killed at any point, and others may believe that it is theirs to write.
What was made is looked for before it is made again; which run counts is decided by
compare-and-set in the record; and where an unanswered request may have made a second one, that is
put away before the summary counts as written.
"""

import logging
import time

from talweg.reports import ReportContents, read, render
from talweg.spec.sweeps import sweep_title
from talweg.v1.jobs_pb2 import TrackingRun
from talweg.v1.sweeps_pb2 import Sweep
from talweg.v1.workers_pb2 import SetSweepRunRequest, SweepRun
from talweg.worker.tracking.errors import (
    NothingDoneError,
    RefusedError,
    RunDeletedError,
    RunGoneError,
)
from talweg.worker.tracking.experiments import experiment_name
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import AT_WORK_S, SURPLUS_TAG, RunId, Runs
from talweg.worker.tracking.sweep_delivery.contents import (
    STATUS,
    first_job,
    identity,
    summarise,
    view_of,
)
from talweg.worker.tracking.sweep_delivery.reading import SweepReader

REPORT, SWEEP_FILE = "report.html", "sweep.yaml"

log = logging.getLogger(__name__)


class SummaryDelivery:
    """Writes the summary of one sweep."""

    def __init__(self, name: str, *, record: Record, runs: Runs, reader: SweepReader) -> None:
        """Touch nothing yet.

        Args:
            name: `sweeps/{id}`.
            record: The server.
            runs: MLflow.
            reader: Reads the sweep.
        """
        self._name = name
        self._record, self._runs, self._reader = record, runs, reader
        # What this process knows; another one begins without, and looks anew.
        self._run: RunId | None = None
        self._written_to = 0
        self._is_unsure = False
        self._answered_at: float | None = None

    def advance(self, due: SweepRun) -> bool:
        """Write what is not written yet.

        Args:
            due: What the server has handed out.

        Returns:
            Whether the record says that it is written; else call again.

        Raises:
            TrackingError: MLflow; try again later.
            ServerAwayError: The server did not answer; try again later.
        """
        if due.attempt > 1 and not due.tracking.complete:
            # Somebody has begun before, and may have died with a request under way.
            self._is_unsure = True
        if self._run is None or self._written_to < due.cursor:
            run = self._ensure_run(due, self._reader.sweep(self._name))
            if run is None:
                return True
            contents = read(self._reader, self._name)
            if not contents.sweep.HasField("end_time"):
                # It has gone on since it was handed out, and is due again at its next end.
                return False
            self._write(run, contents)
            self._run, self._written_to = run, due.cursor
        if not self._close_surplus(self._run):
            return False
        self._set(self._run, expected=self._run.run_id, due=due, complete=True)
        return True

    def _ensure_run(self, due: SweepRun, sweep: Sweep) -> RunId | None:
        """Return the sweep's run, made if there is none; None where a person has deleted it."""
        known = RunId(due.tracking.run_id, due.tracking.experiment_id)
        if known.run_id:
            try:
                self._runs.get(known.run_id)
                return known
            except RunDeletedError:
                log.warning("%s: its summary run was deleted, and stays so", self._name)
                self._set(known, expected=known.run_id, due=due, complete=True, deleted=True)
                return None
            except RunGoneError:
                log.warning("%s: MLflow has lost its summary run; writing all again", self._name)
        experiment_id = self._runs.experiment(
            experiment_name(first_job(sweep.spec).experiment, sweep.project)
        )
        run = self._find(sweep, experiment_id) if self._is_unsure or known.run_id else None
        made = run is None
        if run is None:
            run = self._create(sweep, experiment_id)
        recorded = self._set(run, expected=known.run_id, due=due)
        if recorded.run_id != run.run_id:
            # Another machine's delivery was first.
            if made:
                self._runs.delete(run.run_id)
            else:
                self._is_unsure = True
        return RunId(recorded.run_id, recorded.experiment_id)

    def _find(self, sweep: Sweep, experiment_id: str) -> RunId | None:
        for run in self._runs.find(experiment_id=experiment_id, tags=identity(sweep)):
            if SURPLUS_TAG not in run.data.tags:
                return RunId(run.info.run_id, experiment_id)
        return None

    def _create(self, sweep: Sweep, experiment_id: str) -> RunId:
        was_unsure, self._is_unsure = self._is_unsure, True
        self._answered_at = None
        try:
            run = self._runs.create(
                experiment_id=experiment_id,
                name=sweep_title(sweep.spec),
                start_ms=sweep.create_time.ToMilliseconds(),
                tags=identity(sweep),
            )
        except (NothingDoneError, RefusedError, RunGoneError):
            # Somebody may have deleted the experiment since it was looked up.
            self._runs.forget_experiments()
            self._is_unsure = was_unsure
            raise
        self._is_unsure = was_unsure
        return run

    def _write(self, run: RunId, contents: ReportContents) -> None:
        """Write all that the run holds; what MLflow refuses is left out."""
        summary, sweep = summarise(contents), contents.sweep
        end_ms = sweep.end_time.ToMilliseconds()
        # At step 0 MLflow draws bars with labels; a later end has a later time, and so counts.
        points = [(0, end_ms, summary.metrics)]
        for name, write in (
            ("metrics", lambda: self._runs.log(run.run_id, points=points)),
            ("parameters", lambda: self._runs.log(run.run_id, params=summary.params)),
            ("tags", lambda: self._runs.log(run.run_id, tags=summary.tags)),
            ("report", lambda: self._runs.log_text(run.run_id, render(contents), REPORT)),
            ("view", lambda: self._runs.share_view(run.experiment_id, *view_of(contents))),
            ("file", lambda: self._runs.log_text(run.run_id, contents.sweep_file, SWEEP_FILE)),
        ):
            try:
                write()
            except RefusedError as exc:
                log.error("%s: MLflow refuses the %s of its summary: %s", self._name, name, exc)
        self._runs.close(run.run_id, status=STATUS.get(sweep.state, "FINISHED"), end_ms=end_ms)

    def _close_surplus(self, run: RunId) -> bool:
        """Put away runs that unanswered requests have made beside the sweep's.

        Returns:
            Whether it is done; False while MLflow may still be at work on such a request.
        """
        if not self._is_unsure:
            return True
        if self._answered_at is None:
            self._answered_at = time.monotonic()
        if time.monotonic() - self._answered_at < AT_WORK_S:
            return False
        tags = identity(Sweep(name=self._name))
        self._runs.put_away_others(run, tags=tags, name=self._name)
        self._is_unsure = False
        return True

    def _set(
        self,
        run: RunId,
        *,
        expected: str,
        due: SweepRun,
        complete: bool = False,
        deleted: bool = False,
    ) -> TrackingRun:
        tracking = TrackingRun(
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            url=self._runs.url(run),
            complete=complete,
            deleted=deleted,
        )
        return self._record.set_sweep_run(
            SetSweepRunRequest(
                sweep=self._name, expected_run_id=expected, tracking=tracking, cursor=due.cursor
            )
        )
