"""The run of one setting on its way to MLflow.

Each try writes a run of its own, from the beginning to the end: none is gone on with, so that no
point can be there twice. Compare-and-set in the record decides which of them counts; whoever wins
deletes those of earlier tries, and whoever loses its own.
"""

import time

from talweg.v1.jobs_pb2 import TrackingRun
from talweg.v1.sweeps_pb2 import Sweep
from talweg.v1.workers_pb2 import SetSweepRunRequest, SweepRun
from talweg.worker.tracking.errors import NothingDoneError, RefusedError, RunGoneError
from talweg.worker.tracking.experiments import experiment_name
from talweg.worker.tracking.outputs.views import shared_view
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import AT_WORK_S, RunId, Runs
from talweg.worker.tracking.sweep_delivery.contents import first_job
from talweg.worker.tracking.sweep_delivery.reading import SweepReader
from talweg.worker.tracking.sweep_delivery.setting import (
    SettingRun,
    identity,
    read_seeds,
    run_of,
)

TRY_TAG = "talweg.try"
"""How many had had the run when it was made: an earlier one is not to delete a later one's."""


class SettingDelivery:
    """Writes the run of one setting."""

    def __init__(self, sweep: Sweep, *, record: Record, runs: Runs, reader: SweepReader) -> None:
        """Touch nothing yet.

        Args:
            sweep: Whose setting it is.
            record: The server.
            runs: MLflow.
            reader: Reads the sweep.
        """
        self._sweep = sweep
        self._record, self._runs, self._reader = record, runs, reader
        self._has_tried = False
        self._not_before = 0.0

    def advance(self, due: SweepRun) -> bool:
        """Write the run.

        Args:
            due: What the server has handed out.

        Returns:
            Whether it is done with; else call again.

        Raises:
            TrackingError: MLflow; try again later.
            ServerAwayError: The server did not answer; try again later.
        """
        if time.monotonic() < self._not_before:
            return False
        seeds = read_seeds(self._reader, self._sweep, due.trial)
        spec = first_job(self._sweep.spec)
        experiment = self._runs.experiment(experiment_name(spec.experiment, self._sweep.project))
        are_others = self._has_tried or due.attempt > 1 or bool(due.tracking.run_id)
        run = self._written(experiment, due, run_of(self._sweep, due.trial, seeds))
        recorded = self._set(run, due, expected=due.tracking.run_id)
        if recorded.run_id != run.run_id:
            self._runs.delete(run.run_id)
            return True
        if are_others:
            self._delete_earlier(run, due)
        for seed in seeds[:1]:
            self._runs.share_view(experiment, *shared_view(seed.job.spec))
        self._set(run, due, expected=run.run_id, complete=True)
        return True

    def _written(self, experiment: str, due: SweepRun, content: SettingRun) -> RunId:
        self._has_tried = True
        own = identity(due.sweep, due.trial.number) | {TRY_TAG: str(due.attempt)}
        try:
            run = self._runs.create(
                experiment_id=experiment, name=content.name, start_ms=content.start_ms, tags=own
            )
        except (NothingDoneError, RefusedError, RunGoneError):
            # Somebody may have deleted the experiment since it was looked up.
            self._runs.forget_experiments()
            raise
        except Exception:
            # MLflow may still be at work: what it makes is to be found by the next try.
            self._not_before = time.monotonic() + AT_WORK_S
            raise
        self._runs.log(run.run_id, points=content.points, params=content.params, tags=content.tags)
        self._runs.close(run.run_id, status=content.status, end_ms=content.end_ms)
        return run

    def _delete_earlier(self, run: RunId, due: SweepRun) -> None:
        tags = identity(due.sweep, due.trial.number)
        for other in self._runs.find(experiment_id=run.experiment_id, tags=tags):
            tried = other.data.tags.get(TRY_TAG, "0")
            if other.info.run_id != run.run_id and int(tried) <= due.attempt:
                self._runs.delete(other.info.run_id)

    def _set(
        self, run: RunId, due: SweepRun, *, expected: str, complete: bool = False
    ) -> TrackingRun:
        tracking = TrackingRun(
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            url=self._runs.url(run),
            complete=complete,
        )
        return self._record.set_sweep_run(
            SetSweepRunRequest(
                sweep=due.sweep,
                trial=due.trial.number,
                expected_run_id=expected,
                tracking=tracking,
                cursor=due.cursor,
            )
        )
