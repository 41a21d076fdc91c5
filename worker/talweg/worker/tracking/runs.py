"""MLflow as the delivery uses it: experiments, runs, points, files.

Every call either has happened when it returns, or raises a TrackingError.
"""

import logging
import math
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
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

from talweg.spec.tracking import run_page
from talweg.worker.tracking.backends.backend import Backend, HttpBackend, ask_newer
from talweg.worker.tracking.errors import RefusedError, RunDeletedError
from talweg.worker.tracking.experiments import find_or_make_experiment
from talweg.worker.tracking.logged_models import LoggedModels
from talweg.worker.tracking.outputs.labels import MAX_PARAM_LENGTH, MAX_TAG_LENGTH, cut
from talweg.worker.tracking.outputs.training_data import TrainingData
from talweg.worker.tracking.spool import Point

MAX_METRICS = 1000
MAX_PARAMS = 100
MAX_ENTITIES = 1000

JOB_TAG, SWEEP_TAG, KIND_TAG = "talweg.job", "talweg.sweep", "talweg.kind"
PROJECT_TAG = "talweg.project"
SETTING_KIND = "setting"
"""Of a run that is of several jobs, the seeds of a setting."""
SURPLUS_TAG = "talweg.surplus_of"
"""Of a second run that holds something: the run that counts."""
AT_WORK_S = 30.0
"""How long MLflow may work on a request whose caller has left, once it answers others again.

It waits up to 20 s for a SQLite database that somebody has locked.
"""

# How long the id of an experiment is taken to be that of its name.
_KNOWN_S = 20.0

log = logging.getLogger(__name__)


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
    """MLflow, seen as the home of jobs' runs. Usable from several threads."""

    def __init__(
        self,
        tracking_uri: str,
        *,
        public_uri: str | None = None,
        backend: Backend | None = None,
    ) -> None:
        """Keep the address; nothing is sent.

        Args:
            tracking_uri: The server's URL.
            public_uri: Its URL for people, where that is another.
            backend: The way to it; by default through the server.
        """
        self._public_uri = public_uri or tracking_uri
        self.tracking_uri = tracking_uri
        self.backend = backend or HttpBackend(tracking_uri)
        self._ask = self.backend.ask
        self.models = LoggedModels(self._ask)
        """The logged models of runs."""
        # With the time at which they were looked up.
        self._experiments: dict[str, tuple[str, float]] = {}
        self._experiments_lock = threading.Lock()
        self._shared_views: set[tuple[str, str]] = set()
        self._restored: set[str] = set()

    def url(self, run: RunId) -> str:
        """Return the run's page; empty where the server has no pages."""
        return run_page(self._public_uri, experiment_id=run.experiment_id, run_id=run.run_id)

    def experiment(self, name: str) -> str:
        """Return the experiment's id; create it if missing, restore it if deleted."""
        with self._experiments_lock:
            _, since = self._experiments.get(name, ("", -math.inf))
            # Somebody may have renamed it, to begin anew under its name.
            if time.monotonic() - since >= _KNOWN_S:
                id_ = self._ask(
                    lambda client: find_or_make_experiment(
                        client, name, restored=self._restored.add
                    )
                )
                self._experiments[name] = id_, time.monotonic()
            return self._experiments[name][0]

    def running_again(self, experiment_id: str) -> list[Run]:
        """Return the runs of jobs that came back with an experiment and are RUNNING."""
        if experiment_id not in self._restored:
            return []
        found: list[Run] = []
        token: str | None = ""
        while token is not None:
            page = self._ask(
                partial(
                    MlflowClient.search_runs,
                    experiment_ids=[experiment_id],
                    filter_string="attributes.status = 'RUNNING'",
                    page_token=token or None,
                )
            )
            found += page
            token = page.token or None
        return [run for run in found if JOB_TAG in run.data.tags]

    def forget_restored(self, experiment_id: str) -> None:
        """Forget that an experiment came back: its runs have been looked at."""
        self._restored.discard(experiment_id)

    def share_view(self, experiment_id: str, tag: str, view: str) -> None:
        """Tag an experiment with a view of its runs, once in this process.

        Args:
            experiment_id: The experiment.
            tag: Where MLflow's pages look for the view.
            view: The view, as JSON.
        """
        if (experiment_id, tag) not in self._shared_views:
            self._ask(lambda client: client.set_experiment_tag(experiment_id, tag, view))
            self._shared_views.add((experiment_id, tag))

    def forget_experiments(self) -> None:
        """Forget the experiments' ids: somebody may have deleted one."""
        with self._experiments_lock:
            self._experiments.clear()

    def find(self, *, experiment_id: str, tags: Mapping[str, str]) -> list[Run]:
        """Return the runs that have all of these tags, the oldest first."""
        marks = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        return list(
            self._ask(
                lambda client: client.search_runs(
                    [experiment_id],
                    " AND ".join(marks),
                    run_view_type=ViewType.ACTIVE_ONLY,
                    max_results=100,
                    order_by=["attributes.start_time ASC"],
                )
            )
        )

    def create(
        self, *, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]
    ) -> RunId:
        """Make a run.

        Args:
            experiment_id: Of `experiment`.
            name: For people.
            start_ms: When the job's first attempt began, or the sweep.
            tags: Those by which `find` finds it among them.
        """
        run = self._ask(
            lambda client: client.create_run(
                experiment_id,
                start_time=start_ms,
                run_name=name,
                tags={key: cut(value, MAX_TAG_LENGTH) for key, value in tags.items()},
            )
        )
        self.backend.made(run)
        return RunId(run.info.run_id, experiment_id)

    def get(self, run_id: str) -> Run:
        """Return the run as MLflow has it.

        Raises:
            RunDeletedError: Somebody deleted it.
            RunGoneError: It does not exist.
        """
        run: Run = self._ask(lambda client: client.get_run(run_id))
        if run.info.lifecycle_stage == LifecycleStage.DELETED:
            raise RunDeletedError(f"run {run_id} was deleted")
        return run

    def high_water(self, run_id: str) -> dict[str, int]:
        """Return by metric the highest step that the run holds."""
        return {m.key: m.step for m in self.get(run_id).data.to_proto().metrics}

    def steps(self, run_id: str, metric: str) -> set[int]:
        """Return the steps at which the run holds a metric."""
        points = self._ask(lambda client: client.get_metric_history(run_id, metric))
        return {point.step for point in points}

    def put_away_others(self, kept: RunId, *, tags: Mapping[str, str], name: str) -> None:
        """Delete second runs of a job or sweep; close and mark those that hold something.

        Args:
            kept: The run that counts.
            tags: What all of them have.
            name: Of the job or sweep, for the log.
        """
        for other in self.find(experiment_id=kept.experiment_id, tags=tags):
            surplus = other.info.run_id
            if surplus != kept.run_id and SURPLUS_TAG not in other.data.tags:
                done = self._put_away(other, kept=kept.run_id)
                log.warning("%s: second run %s beside %s: %s", name, surplus, kept.run_id, done)

    def _put_away(self, surplus: Run, *, kept: str) -> str:
        """Return what was done with a run that nobody needs."""
        run_id, data, inputs = surplus.info.run_id, surplus.data, surplus.inputs
        if not (data.metrics or data.params or (inputs and inputs.dataset_inputs)):
            self.delete(run_id)
            return "deleted"
        self.log(run_id, tags={SURPLUS_TAG: kept})
        self._ask(lambda client: client.set_terminated(run_id, "KILLED"))
        return "closed, since it holds something"

    def delete(self, run_id: str) -> None:
        """Delete a run that nobody needs."""
        self._ask(lambda client: client.delete_run(run_id))

    def erase(self, run_id: str, *, job_id: str) -> None:
        """Delete a job's run with its files and its logged models.

        Args:
            run_id: The run.
            job_id: The job; a run of another stays, and that of a setting, which is of others too.

        Raises:
            RunGoneError: It does not exist, or somebody deleted it.
            RefusedError: It is not the job's.
        """
        run = self.get(run_id)
        if run.data.tags.get(KIND_TAG) == SETTING_KIND:
            return
        if run.data.tags.get(JOB_TAG) != job_id:
            raise RefusedError(f"run {run_id} is not of job {job_id}: it stays")
        for model in self.models.of_run(run_id, run.info.experiment_id):
            self.models.delete(model.model_id)
            self.backend.remove_files(model.artifact_location)
        self.backend.remove_files(run.info.artifact_uri)
        self.delete(run_id)

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
        left = [Param(key, cut(value, MAX_PARAM_LENGTH)) for key, value in (params or {}).items()]
        marks = [RunTag(key, cut(value, MAX_TAG_LENGTH)) for key, value in (tags or {}).items()]
        while metrics or left or marks:
            now_params, left = left[:MAX_PARAMS], left[MAX_PARAMS:]
            now_marks, marks = marks[:MAX_PARAMS], marks[MAX_PARAMS:]
            room = min(MAX_METRICS, MAX_ENTITIES - len(now_params) - len(now_marks))
            now_metrics, metrics = metrics[:room], metrics[room:]
            self._ask(
                partial(
                    MlflowClient.log_batch,
                    run_id=run_id, metrics=now_metrics, params=now_params, tags=now_marks,
                )
            )  # fmt: skip
            if (metrics or left or marks) and not may_go_on():
                return False
        return True

    def log_data(self, run_id: str, data: TrainingData) -> None:
        """Name the data that the run learns from."""
        dataset = Dataset(
            name=data.name,
            digest=data.digest,
            source_type="talweg",
            source=data.source,
            profile=data.profile,
        )
        tags = [InputTag("mlflow.data.context", "training")]
        inputs = [DatasetInput(dataset, tags)]
        ask_newer(self._ask, lambda client: client.log_inputs(run_id, inputs))

    def log_text(self, run_id: str, text: str, path: str) -> None:
        """Store a text as a file of the run."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / path
            file.write_text(text, "utf-8")
            self.backend.log_file(run_id, file)

    def log_files(self, run_id: str, folder: Path) -> None:
        """Store a folder's content among the run's files."""
        self.backend.log_files(run_id, folder)

    def log_file(self, run_id: str, file: Path, folder: str) -> None:
        """Store a file in a folder of the run's files."""
        self.backend.log_file(run_id, file, folder)

    def close(self, run_id: str, *, status: str, end_ms: int) -> None:
        """End a run.

        Args:
            run_id: The run.
            status: FINISHED, FAILED or KILLED.
            end_ms: When the job ended.
        """
        self._ask(lambda client: client.set_terminated(run_id, status, end_ms))
