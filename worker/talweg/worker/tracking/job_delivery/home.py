"""Which run in MLflow a job has: found, else made, in agreement with the record.

No answer to a request that makes something does not say that nothing was made. It is looked for
before it is asked for again; and where the first request was only slow, so that there are two, the
one that nobody needs is put away.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from talweg.spec import display_name, kind, label
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.spec.sweeps import PER_SETTING, TAG_RUNS, TAG_SWEEP
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.errors import RefusedError, RunGoneError
from talweg.worker.tracking.experiments import experiment_name
from talweg.worker.tracking.job_delivery.state import DeliveryState
from talweg.worker.tracking.outputs.views import LOSS_LABEL_TAG
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import (
    AT_WORK_S,
    JOB_TAG,
    KIND_TAG,
    PROJECT_TAG,
    SWEEP_TAG,
    RunId,
    Runs,
)
from talweg.worker.tracking.spool import now_ms

# A job that began before this process may have been delivered by another, of which the spool tells
# nothing: it may be that of a backup, which was copied before MLflow was.
_STARTED_MS = now_ms()

log = logging.getLogger(__name__)


def has_no_run(spec: JobSpec) -> bool:
    """Return whether a job's points are written with its setting, from the record."""
    return spec.tags.get(TAG_RUNS) == PER_SETTING and TAG_SWEEP in spec.tags


def ensure_run(
    begin: Mapping[str, Any],
    spec: JobSpec,
    *,
    tags: Mapping[str, str],
    job_id: str,
    state: DeliveryState,
    save: Callable[[], None],
    is_new: bool,
    runs: Runs,
    record: Record,
) -> None:
    """See to it that the state names the job's run; does nothing where it does.

    Args:
        begin: The line with which the attempt begins.
        spec: The job's.
        tags: What a new run is tagged with beside what never changes.
        job_id: Without `jobs/`.
        state: Of the job's delivery.
        save: Writes the state down.
        is_new: Nobody has begun to deliver this job on this machine before this process.
        runs: MLflow.
        record: The server.
    """
    if state.run_id:
        return
    experiment_id = runs.experiment(experiment_name(spec.experiment, begin.get("project")))
    _delete_dropped(experiment_id, runs, record)
    run: RunId | None = None
    made = False
    # Nobody can have made a run for a first attempt that nobody has begun to deliver.
    is_first = is_new and begin["attempt"] == 1 and begin["time"] >= _STARTED_MS
    if state.creating or state.replaces or not is_first:
        run = _run_in_record(record, job_id, replaces=state.replaces)
        if run is None:
            run = _find(runs, experiment_id, job_id, state)
    if run is None:
        run = _create(runs, experiment_id, begin, spec, tags, job_id, state, save)
        made = True
    recorded = record.set_run(job_id, run, expected=state.replaces, url=runs.url(run)) or run
    if recorded.run_id != run.run_id:
        # Another machine's delivery was first.
        if made:
            runs.delete(run.run_id)
        else:
            state.unanswered += 1
    if state.unanswered:
        state.unanswered_ms = now_ms()
    if made and recorded.run_id == run.run_id:
        state.tags |= tags
    else:
        state.high_water = runs.high_water(recorded.run_id)
    state.run_id, state.experiment_id = recorded.run_id, recorded.experiment_id
    state.creating = False
    save()


def _run_in_record(record: Record, job_id: str, *, replaces: str) -> RunId | None:
    job = record.job(job_id)
    if job is None or job.tracking.run_id in ("", replaces):
        return None
    return RunId(job.tracking.run_id, job.tracking.experiment_id)


def _find(runs: Runs, experiment_id: str, job_id: str, state: DeliveryState) -> RunId | None:
    candidates = runs.find(experiment_id=experiment_id, tags={JOB_TAG: job_id})
    if not candidates:
        return None
    # It is the one that was asked for, unless another machine's delivery has made it.
    state.unanswered = max(0, state.unanswered - 1)
    return RunId(candidates[0].info.run_id, experiment_id)


def _delete_dropped(experiment_id: str, runs: Runs, record: Record) -> None:
    """Delete runs again that came back with their experiment, and whose results were dropped.

    They would be RUNNING for ever, with the points that they had when somebody deleted them.
    """
    for run in runs.running_again(experiment_id):
        job = record.job(run.data.tags[JOB_TAG])
        # A job that this server does not know may be another server's.
        if job is not None and job.tracking.deleted:
            with suppress(RunGoneError):
                # Another thread may have been quicker.
                runs.delete(run.info.run_id)
            log.info("%s: its run had been deleted, and is again", run.data.tags[JOB_TAG])
    runs.forget_restored(experiment_id)


def close_surplus(
    run: RunId, *, job_id: str, state: DeliveryState, save: Callable[[], None], runs: Runs
) -> bool:
    """Put away what unanswered requests have made beside the job's run and its model.

    Args:
        run: The job's, as the record has it.
        job_id: Without `jobs/`.
        state: Of the job's delivery.
        save: Writes the state down.
        runs: MLflow.

    Returns:
        Whether it is done; False while MLflow may still be at work on such a request.
    """
    if not state.unanswered:
        return True
    if state.creating or state.creating_model:
        # What was made is still to be found, and is then needed.
        return False
    if now_ms() - state.unanswered_ms < 1000 * AT_WORK_S:
        return False
    runs.put_away_others(run, tags={JOB_TAG: job_id}, name=job_id)
    for model_id in runs.models.find_empty(run.run_id, run.experiment_id):
        if model_id != state.model_id:
            runs.models.delete(model_id)
            log.warning("%s: second empty model %s: deleted", job_id, model_id)
    state.unanswered = 0
    save()
    return True


def _create(
    runs: Runs,
    experiment_id: str,
    begin: Mapping[str, Any],
    spec: JobSpec,
    changing_tags: Mapping[str, str],
    job_id: str,
    state: DeliveryState,
    save: Callable[[], None],
) -> RunId:
    tags = {
        **changing_tags,
        JOB_TAG: job_id,
        "talweg.loss": kind(spec.loss)[0],
        LOSS_LABEL_TAG: label(spec.loss),
        "talweg.task": kind(spec.task)[0],
        "mlflow.source.name": f"jobs/{job_id}",
        "mlflow.source.type": "JOB",
        PROJECT_TAG: begin.get("project") or DEFAULT_PROJECT,
    }
    if sweep := spec.tags.get(TAG_SWEEP):
        # The service sets it, and nobody else can.
        tags[SWEEP_TAG] = sweep
    if spec.HasField("continued_from"):
        tags["talweg.continued_from"] = spec.continued_from.job.removeprefix("jobs/")
        tags["talweg.continued_step"] = str(spec.continued_from.step)
    if spec.HasField("replay"):
        # By which searches leave it out: it is no training.
        tags[KIND_TAG] = "replay"
        tags["talweg.replay_of"] = spec.replay.job.removeprefix("jobs/")
        tags["talweg.replay_step"] = str(spec.replay.step)

    def create(experiment: str) -> RunId:
        with state.asking("creating", save):
            return runs.create(
                experiment_id=experiment,
                name=display_name(spec),
                start_ms=begin["time"],
                tags=tags,
            )

    try:
        return create(experiment_id)
    except (RefusedError, RunGoneError):
        # Somebody has deleted the experiment since it was looked up.
        runs.forget_experiments()
        return create(runs.experiment(experiment_name(spec.experiment, begin.get("project"))))
