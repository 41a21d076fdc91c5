"""What a job leaves in MLflow besides figures: diagnoses; at its end plots, weights, the model.

What draws and what exports is imported where it is first needed: matplotlib and torch cost seconds
and memory that a delivery of figures alone does without.
"""

import logging
import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from talweg.blobs import job_blobs
from talweg.spec import job_name
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.errors import WorkerError
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.errors import TrackingBusyError, TrackingError, translated, uploading
from talweg.worker.tracking.job_delivery.state import DeliveryState
from talweg.worker.tracking.outputs import artifacts
from talweg.worker.tracking.outputs.evidence import send_evidence
from talweg.worker.tracking.outputs.labels import model_name, model_params
from talweg.worker.tracking.outputs.replayed import send_replay
from talweg.worker.tracking.outputs.training_data import training_data
from talweg.worker.tracking.runs import RunId, Runs
from talweg.worker.tracking.spool import (
    DIVERGENCE,
    EXAMPLE,
    GRADIENT_FLOW,
    LOSS_LANDSCAPE,
    MODEL,
    RATE_RANGE,
    REPLAY,
    REPLAY_TABLES,
    WEIGHTS,
    now_ms,
    table_file,
)

WEIGHTS_FOLDER = "weights"

log = logging.getLogger(__name__)

# What draws and what exports is not made for threads, and takes all of a core.
_turn = threading.Lock()


class NotMadeError(WorkerError):
    """Outputs cannot be made of what the attempt has left."""


class NotYetError(WorkerError):
    """Another job's outputs are being made; this one's turn comes after."""


Once = Callable[[str, Callable[[], None]], None]
"""Takes a named step unless an earlier process has taken it."""


def send_outputs(
    attempt: SpooledAttempt,
    attempts: Collection[SpooledAttempt],
    spec: JobSpec,
    *,
    run: RunId,
    runs: Runs,
    state: DeliveryState,
    save: Callable[[], None],
    once: Once,
) -> None:
    """Send what the spec asks for and the attempt holds.

    A plot or a model that cannot be made is left out, and the record says so: the figures count.

    Args:
        attempt: The last one.
        attempts: All of the job that are here.
        spec: Filled.
        run: The job's.
        runs: MLflow.
        state: Holds the model's id as soon as there is one.
        save: Writes the state.
        once: Takes a step unless it has been taken.

    Raises:
        NotYetError: Another job's are being made; try again later.
        TrackingError: MLflow; try again later.
    """
    has_model = {WEIGHTS, MODEL, EXAMPLE} <= attempt.files
    has_evidence = DIVERGENCE in attempt.files
    steps: list[tuple[str, bool, Callable[[], None]]] = [
        ("evidence", has_evidence, lambda: send_evidence(attempt, spec, run, runs)),
        ("replay", REPLAY in attempt.files, lambda: send_replay(attempt, run, runs)),
        ("plots", spec.outputs.plots, lambda: _send_plots(attempt, attempts, spec, run, runs)),
        ("weights", has_model, lambda: _send_weights(attempt, run, runs)),
        ("model", has_model, lambda: _send_model(attempt, spec, run, runs, state, save)),
    ]
    for name, wanted, step in steps:
        if wanted:
            once(name, _forgiving(attempt.folder, name, step, needs_turn=name != "weights"))


def send_diagnoses(
    attempt: SpooledAttempt, spec: JobSpec, *, run: RunId, runs: Runs, once: Once
) -> None:
    """Send what diagnoses have found so far.

    Args:
        attempt: Any of the job's.
        spec: Filled.
        run: The job's.
        runs: MLflow.
        once: Takes a step unless it has been taken.

    Raises:
        NotYetError: Another job's are being made; try again later.
        TrackingError: MLflow; try again later.
    """
    for name in (RATE_RANGE, GRADIENT_FLOW, LOSS_LANDSCAPE, *REPLAY_TABLES):
        if table_file(name) in attempt.files:
            step = partial(_send_diagnosis, name, attempt, spec, run, runs)
            once(name, _forgiving(attempt.folder, name, step))


def _send_diagnosis(
    name: str, attempt: SpooledAttempt, spec: JobSpec, run: RunId, runs: Runs
) -> None:
    from talweg.worker.tracking.outputs.diagnoses import send_diagnosis  # noqa: PLC0415 - matplotlib

    send_diagnosis(name, attempt, spec, run=run, runs=runs)


def _forgiving(
    folder: Path, name: str, step: Callable[[], None], *, needs_turn: bool = True
) -> Callable[[], None]:
    """Return a step that leaves out what cannot be made, and that draws or exports in turn."""

    def take() -> None:
        if needs_turn and not _turn.acquire(blocking=False):
            raise NotYetError
        try:
            step()
        except TrackingError:
            raise
        except Exception as exc:
            log.exception("%s: %s could not be made", folder, name)
            raise NotMadeError(f"it could not be made: {exc}") from exc
        finally:
            if needs_turn:
                _turn.release()

    return take


def store_artifacts(
    attempt: SpooledAttempt,
    attempts: Collection[SpooledAttempt],
    spec: JobSpec,
    *,
    blobs: str,
    once: Once,
) -> None:
    """Write to the blob store what the training process has left to be written; needs no MLflow.

    Args:
        attempt: The last one.
        attempts: All of the job that are here.
        spec: Filled.
        blobs: The store's folder or URL.
        once: Takes a step unless it has been taken.

    Raises:
        NotYetError: Another job's are being made; try again later.
        TrackingBusyError: The store does not answer; try again later.
    """

    def store() -> None:
        job = job_name(attempt.folder.parent.name)
        project = (attempt.begin or {}).get("project") or DEFAULT_PROJECT
        try:
            artifacts.store_rest(job_blobs(blobs, project), job, attempt, attempts, spec)
        except OSError as exc:
            raise TrackingBusyError(f"the blob store cannot be written: {exc}") from exc

    # Without pictures nothing is drawn, and a job that has none must not wait for those of others.
    step = _forgiving(
        attempt.folder, "files for the blob store", store, needs_turn=spec.outputs.plots
    )
    once("artifacts", step)


def _send_plots(
    attempt: SpooledAttempt,
    attempts: Collection[SpooledAttempt],
    spec: JobSpec,
    run: RunId,
    runs: Runs,
) -> None:
    drawn = artifacts.draw(attempt, attempts, spec) / artifacts.PLOTS_FOLDER
    for picture in sorted(drawn.iterdir()):
        runs.log_file(run.run_id, picture, artifacts.PLOTS_FOLDER)


def _send_weights(attempt: SpooledAttempt, run: RunId, runs: Runs) -> None:
    for name in (WEIGHTS, MODEL):
        runs.log_file(run.run_id, attempt.folder / name, WEIGHTS_FOLDER)


def _send_model(
    attempt: SpooledAttempt,
    spec: JobSpec,
    run: RunId,
    runs: Runs,
    state: DeliveryState,
    save: Callable[[], None],
) -> None:
    # A delivery without models never loads torch.
    from talweg.worker.artifacts import made_apart, mlflow_flavour, predictor  # noqa: PLC0415

    def fill(log_it: Callable[..., None]) -> None:
        if not state.model_id:
            state.model_id = _find_or_create_model(spec, run, runs, state, save)
            state.creating_model = False
            save()
        runs.models.add_output(run.run_id, state.model_id)
        try:
            with translated():
                log_it(run_id=run.run_id, model_id=state.model_id, tracking_uri=runs.tracking_uri)
        except mlflow_flavour.UploadError as exc:
            with uploading():
                raise exc.__cause__ or exc from None

    # Made or loaded first: what cannot be leaves no empty model.
    if made_apart.is_of_plugin(attempt.folder):
        # Its code must not run where MLflow's password is.
        with made_apart.made_apart(attempt.folder) as made:
            fill(partial(mlflow_flavour.log_made, made))
    else:
        model, example = predictor.load(attempt.folder), predictor.load_example(attempt.folder)
        fill(partial(mlflow_flavour.log_model, model, example))
    data = training_data(spec, attempt.data) if attempt.data is not None else None
    runs.models.link(run.run_id, attempt.results, model_id=state.model_id, data=data)


def _find_or_create_model(
    spec: JobSpec, run: RunId, runs: Runs, state: DeliveryState, save: Callable[[], None]
) -> str:
    if state.creating_model:
        model_ids = runs.models.find_empty(run.run_id, run.experiment_id)
        state.unanswered_ms = now_ms()
        if model_ids:
            state.unanswered = max(0, state.unanswered - 1)
            return model_ids[0]
    with state.asking("creating_model", save):
        return runs.models.create(
            run.run_id, run.experiment_id, name=model_name(spec), params=model_params(spec)
        )
