"""MLflow as the delivery uses it: experiments, runs, points, files.

Every call either has happened when it returns, or raises a `TrackingError`.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR,
    MLFLOW_HTTP_REQUEST_BACKOFF_JITTER,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException, RestException

from talweg.worker.tracking.errors import (
    RefusedError,
    RunGoneError,
    TrackingAwayError,
    TrackingBusyError,
    TrackingError,
)
from talweg.worker.tracking.spool import Point

MAX_METRICS = 1000
MAX_PARAMS = 100
MAX_ENTITIES = 1000
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 5000
MAX_DIGEST_LENGTH = 36

# By which MLflow's pages open on training runs, not on traces of language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
JOB_TAG = "talweg.job"

_GONE = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
_REFUSED = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "NOT_IMPLEMENTED"}
_REFUSED_STATUSES = {400, 404, 405, 413, 422}

log = logging.getLogger(__name__)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what MLflow's client raises into a TrackingError."""
    try:
        yield
    except RestException as exc:
        if exc.error_code in _GONE:
            raise RunGoneError(str(exc)) from exc
        if exc.error_code in _REFUSED:
            raise RefusedError(str(exc)) from exc
        if exc.error_code in ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
            raise TrackingAwayError(str(exc)) from exc
        raise TrackingBusyError(str(exc)) from exc
    except requests.HTTPError as exc:
        if exc.response is not None and exc.response.status_code in _REFUSED_STATUSES:
            raise RefusedError(str(exc)) from exc
        raise TrackingBusyError(str(exc)) from exc
    except MlflowException as exc:
        if str(exc).startswith("The following failures occurred while uploading"):
            raise TrackingBusyError(str(exc)) from exc
        # What the client found wrong itself, before it asked anybody, is wrong for good.
        if not str(exc).startswith("API request to"):
            raise RefusedError(str(exc)) from exc
        raise TrackingAwayError(str(exc)) from exc
    except (requests.RequestException, ConnectionError, TimeoutError) as exc:
        raise TrackingAwayError(str(exc)) from exc


@contextmanager
def uploading() -> Iterator[None]:
    """Turn what the upload of a file raises into a TrackingError.

    What an artifact store's own client raises, such as boto's, does not say that the file can
    never be stored. A missing module or file does, and is raised as it is.
    """
    try:
        with translated():
            yield
    except (TrackingError, ImportError, FileNotFoundError):
        raise
    except Exception as exc:
        raise TrackingBusyError(repr(exc)) from exc


def longest_call_seconds() -> float:
    """Return how long a call may be on its way: each of its tries, and the pauses between.

    A try may take the timeout twice, to connect and to be answered.
    """
    settings = (
        MLFLOW_HTTP_REQUEST_MAX_RETRIES,
        MLFLOW_HTTP_REQUEST_TIMEOUT,
        MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR,
        MLFLOW_HTTP_REQUEST_BACKOFF_JITTER,
    )
    retries, timeout, factor, jitter = (setting.get() for setting in settings)  # type: ignore[no-untyped-call]
    return float(2 * timeout * (retries + 1) + factor * 2**retries + jitter * retries)


@dataclass(frozen=True)
class RunId:
    """Where a job's results go."""

    run_id: str
    experiment_id: str


class Runs:
    """An MLflow server, seen as the home of jobs' runs."""

    def __init__(self, tracking_uri: str, *, public_uri: str | None = None) -> None:
        """Keep the address; nothing is sent.

        Args:
            tracking_uri: The server's URL.
            public_uri: Its URL for people, where that is another.
        """
        self._public_uri = public_uri or tracking_uri
        self.tracking_uri = tracking_uri
        self.client = MlflowClient(tracking_uri)
        self._experiments: dict[str, str] = {}

    def url(self, run: RunId) -> str:
        """Return the run's page; empty where the server has no pages."""
        scheme, netloc, path, _, _ = urlsplit(self._public_uri)
        if scheme not in ("http", "https"):
            return ""
        # Whoever reads the record need not know by which name and password results come.
        host = netloc.rpartition("@")[2]
        page = f"/experiments/{run.experiment_id}/runs/{run.run_id}"
        return urlunsplit((scheme, host, f"{path}/", "", page))

    def experiment(self, name: str) -> str:
        """Return the experiment's id; create it if missing, restore it if deleted."""
        if name not in self._experiments:
            with translated():
                self._experiments[name] = self._find_or_make_experiment(name)
        return self._experiments[name]

    def forget_experiments(self) -> None:
        """Forget the experiments' ids: somebody may have deleted one."""
        self._experiments.clear()

    def _find_or_make_experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                made: str = self.client.create_experiment(name, tags=EXPERIMENT_TAGS)
                return made
            except RestException as exc:
                # Another machine's delivery was first.
                if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        experiment_id: str = found.experiment_id
        if found.lifecycle_stage == LifecycleStage.DELETED:
            self.client.restore_experiment(experiment_id)
        return experiment_id

    def find(self, *, experiment_id: str, job_id: str) -> list[Run]:
        """Return the job's runs, the oldest first."""
        with translated():
            return list(
                self.client.search_runs(
                    [experiment_id],
                    f"tags.`{JOB_TAG}` = '{job_id}'",
                    run_view_type=ViewType.ACTIVE_ONLY,
                    max_results=100,
                    order_by=["attributes.start_time ASC"],
                )
            )

    def create(
        self, *, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]
    ) -> RunId:
        """Make a run.

        Args:
            experiment_id: Of `experiment`.
            name: For people.
            start_ms: When the job's first attempt began.
            tags: JOB_TAG among them, so that `find` finds it.
        """
        with translated():
            run = self.client.create_run(
                experiment_id,
                start_time=start_ms,
                run_name=name,
                tags={key: value[:MAX_TAG_LENGTH] for key, value in tags.items()},
            )
        return RunId(run.info.run_id, experiment_id)

    def get(self, run_id: str) -> Run:
        """Return the run as MLflow has it.

        Raises:
            RunGoneError: It does not exist, or somebody deleted it.
        """
        with translated():
            run = self.client.get_run(run_id)
        if run.info.lifecycle_stage == LifecycleStage.DELETED:
            raise RunGoneError(f"run {run_id} was deleted")
        return run

    def high_water(self, run_id: str) -> dict[str, int]:
        """Return by metric the highest step that the run holds."""
        return {m.key: m.step for m in self.get(run_id).data.to_proto().metrics}

    def steps(self, run_id: str, metric: str) -> set[int]:
        """Return the steps at which the run holds a metric."""
        with translated():
            return {point.step for point in self.client.get_metric_history(run_id, metric)}

    def put_away(self, surplus: Run, *, kept: str) -> str:
        """Delete a job's second run; one that holds something is closed and marked instead.

        Args:
            surplus: The run that nobody needs.
            kept: The id of the job's run.

        Returns:
            What was done, for people.
        """
        run_id, data, inputs = surplus.info.run_id, surplus.data, surplus.inputs
        if not (data.metrics or data.params or (inputs and inputs.dataset_inputs)):
            self.delete(run_id)
            return "deleted"
        self.log(run_id, tags={"talweg.surplus_of": kept})
        with translated():
            self.client.set_terminated(run_id, "KILLED")
        return "closed, since it holds something"

    def delete(self, run_id: str) -> None:
        """Delete a run that nobody needs."""
        with translated():
            self.client.delete_run(run_id)

    def log(
        self,
        run_id: str,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Send points, parameters and tags, in as few calls as MLflow's limits allow.

        Args:
            run_id: The run.
            points: In the order of their steps.
            params: By name; long values are cut.
            tags: By name; long values are cut.
            may_go_on: Asked between two calls.

        Returns:
            Whether all was sent.
        """
        metrics = [
            Metric(name, value, time, step)
            for step, time, values in points
            for name, value in values.items()
        ]
        left = [Param(key, value[:MAX_PARAM_LENGTH]) for key, value in (params or {}).items()]
        marks = [RunTag(key, value[:MAX_TAG_LENGTH]) for key, value in (tags or {}).items()]
        while metrics or left or marks:
            now_params, left = left[:MAX_PARAMS], left[MAX_PARAMS:]
            now_marks, marks = marks[:MAX_PARAMS], marks[MAX_PARAMS:]
            room = min(MAX_METRICS, MAX_ENTITIES - len(now_params) - len(now_marks))
            now_metrics, metrics = metrics[:room], metrics[room:]
            with translated(), _deleted_run_is_gone():
                self.client.log_batch(run_id, now_metrics, now_params, now_marks)
            if (metrics or left or marks) and not may_go_on():
                return False
        return True

    def log_data(
        self, run_id: str, *, name: str, digest: str, source: Mapping[str, Any], profile: Any
    ) -> None:
        """Name the data that the run learns from.

        Args:
            run_id: The run.
            name: The data set's name.
            digest: Of its content; MLflow takes its first 36 characters.
            source: Where it comes from, as JSON.
            profile: Its sizes and whole digest, as JSON.
        """
        data = Dataset(
            name=name,
            digest=digest[:MAX_DIGEST_LENGTH],
            source_type="talweg",
            source=json.dumps(source),
            profile=json.dumps(profile),
        )
        tags = [InputTag("mlflow.data.context", "training")]
        with translated(), _deleted_run_is_gone():
            self.client.log_inputs(run_id, [DatasetInput(data, tags)])

    def log_text(self, run_id: str, text: str, path: str) -> None:
        """Store a text as a file of the run."""
        with uploading():
            self.client.log_text(run_id, text, path)

    def log_files(self, run_id: str, folder: Path) -> None:
        """Store a folder's content among the run's files."""
        with uploading():
            self.client.log_artifacts(run_id, str(folder))

    def log_file(self, run_id: str, file: Path, folder: str) -> None:
        """Store a file in a folder of the run's files."""
        with uploading():
            self.client.log_artifact(run_id, str(file), folder)

    def create_model(self, run: RunId) -> str:
        """Make an empty logged model that belongs to a run; its id."""
        with translated():
            model = self.client.create_logged_model(
                run.experiment_id, name="model", source_run_id=run.run_id
            )
        model_id: str = model.model_id
        return model_id

    def find_models(self, run: RunId) -> list[str]:
        """Return the ids of the run's logged models that are still empty, the oldest first."""
        with translated():
            found = self.client.search_logged_models(
                [run.experiment_id],
                f"source_run_id = '{run.run_id}'",
                order_by=[{"field_name": "creation_timestamp", "ascending": True}],
            )
        return [model.model_id for model in found if model.status == LoggedModelStatus.PENDING]

    def delete_model(self, model_id: str) -> None:
        """Delete a logged model that nobody needs."""
        with translated():
            self.client.delete_logged_model(model_id)

    def close(self, run_id: str, *, status: str, end_ms: int) -> None:
        """End a run.

        Args:
            run_id: The run.
            status: FINISHED, FAILED or KILLED.
            end_ms: When the job ended.
        """
        with translated():
            self.client.set_terminated(run_id, status, end_ms)


@contextmanager
def _deleted_run_is_gone() -> Iterator[None]:
    """MLflow calls it an invalid parameter to write to a run that somebody deleted."""
    try:
        yield
    except RestException as exc:
        if exc.error_code == "INVALID_PARAMETER_VALUE" and "'active' state" in str(exc):
            raise RunGoneError(str(exc)) from exc
        raise
