"""Which run in MLflow a job has: found, else made, in agreement with the record."""

from collections.abc import Callable, Mapping
from typing import Any

from talweg.spec import display_name, kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import JOB_TAG, RefusedError, RunGoneError, RunId, Runs
from talweg.worker.tracking.state import DeliveryState


def ensure_run(
    begin: Mapping[str, Any],
    spec: JobSpec,
    *,
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
        job_id: Without `jobs/`.
        state: Of the job's delivery.
        save: Writes the state down.
        is_new: Nobody has begun to deliver this job on this machine before this process.
        runs: MLflow.
        record: The server.
    """
    if state.run_id:
        return
    experiment_id = runs.experiment(spec.experiment)
    found, made = None, False
    # Nobody can have made a run for a first attempt that nobody has begun to deliver.
    if state.creating or not is_new or begin["attempt"] > 1:
        found = _run_in_record(record, job_id, replaces=state.replaces) or runs.find(
            experiment_id=experiment_id, job_id=job_id
        )
    if found is None:
        state.creating = True
        save()
        found, made = _create(runs, experiment_id, begin, spec, job_id), True
    held = record.set_run(job_id, found, expected=state.replaces, url=runs.url(found))
    if held.run_id != found.run_id and made:
        runs.delete(found.run_id)
    if not (made and held.run_id == found.run_id):
        state.high_water = runs.high_water(held.run_id)
    state.run_id, state.experiment_id = held.run_id, held.experiment_id
    state.creating = False
    save()


def _run_in_record(record: Record, job_id: str, *, replaces: str) -> RunId | None:
    job = record.job(job_id)
    if job is None or job.tracking.run_id in ("", replaces):
        return None
    return RunId(job.tracking.run_id, job.tracking.experiment_id)


def _create(
    runs: Runs, experiment_id: str, begin: Mapping[str, Any], spec: JobSpec, job_id: str
) -> RunId:
    tags = {
        JOB_TAG: job_id,
        "talweg.loss": kind(spec.loss)[0],
        "talweg.task": kind(spec.task)[0],
        "mlflow.source.name": f"jobs/{job_id}",
        "mlflow.source.type": "JOB",
    }
    if spec.HasField("continued_from"):
        tags["talweg.continued_from"] = spec.continued_from.job.removeprefix("jobs/")
        tags["talweg.continued_step"] = str(spec.continued_from.step)

    def create(home: str) -> RunId:
        return runs.create(
            experiment_id=home, name=display_name(spec), start_ms=begin["time"], tags=tags
        )

    try:
        return create(experiment_id)
    except (RefusedError, RunGoneError):
        # Somebody has deleted the experiment since it was looked up.
        runs.forget_experiments()
        return create(runs.experiment(spec.experiment))
