"""MLflow's logged models: made empty, filled by `talweg.worker.artifacts`, and linked to runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric

from talweg.worker.tracking.backends.backend import ask_newer
from talweg.worker.tracking.errors import RefusedError, UnknownCallError
from talweg.worker.tracking.outputs.labels import MAX_PARAM_LENGTH, cut
from talweg.worker.tracking.outputs.training_data import TrainingData


class LoggedModels:
    """The logged models of runs."""

    def __init__(self, ask: Callable[[Callable[[Any], Any]], Any]) -> None:
        """Send nothing yet.

        Args:
            ask: `Backend.ask`.
        """
        self._ask = ask

    def create(
        self, run_id: str, experiment_id: str, *, name: str, params: Mapping[str, str]
    ) -> str:
        """Make an empty logged model that belongs to a run, and return its id.

        Args:
            run_id: The run.
            experiment_id: Its experiment.
            name: What it is called.
            params: By which it is told from others.

        Raises:
            UnknownCallError: This MLflow has no logged models.
        """
        model = ask_newer(
            self._ask,
            lambda client: client.create_logged_model(
                experiment_id,
                name=name,
                source_run_id=run_id,
                params={key: cut(value, MAX_PARAM_LENGTH) for key, value in params.items()},
            ),
        )
        model_id: str = model.model_id
        return model_id

    def add_output(self, run_id: str, model_id: str) -> None:
        """Name a logged model as what a run has made; named again, nothing changes.

        Args:
            run_id: The run.
            model_id: The logged model.
        """
        if self._is_output(run_id, model_id):
            return
        output = LoggedModelOutput(model_id, step=0)
        try:
            self._ask(lambda client: client.log_outputs(run_id, [output]))
        except RefusedError:
            # A request that was given up has come through after all: MLflow takes one only.
            if not self._is_output(run_id, model_id):
                raise

    def _is_output(self, run_id: str, model_id: str) -> bool:
        outputs = self._ask(lambda client: client.get_run(run_id)).outputs
        made = () if outputs is None else outputs.model_outputs
        return any(output.model_id == model_id for output in made)

    def link(
        self,
        run_id: str,
        results: Mapping[str, tuple[int, int, float]],
        *,
        model_id: str,
        data: TrainingData | None,
    ) -> None:
        """Say which logged model and which data metrics of a run are of.

        The run holds these points already, and MLflow keeps each of them once.

        Args:
            run_id: The run.
            results: Step, time and value of metrics, by name, as they were sent.
            model_id: The logged model.
            data: The data, if known.
        """
        metrics = [
            Metric(
                name,
                value,
                time,
                step,
                model_id=model_id,
                dataset_name=data.name if data is not None else None,
                dataset_digest=data.digest if data is not None else None,
                run_id=run_id,
            )
            for name, (step, time, value) in results.items()
        ]
        if metrics:
            self._ask(lambda client: client.log_batch(run_id, metrics=metrics))

    def of_run(self, run_id: str, experiment_id: str) -> Sequence[LoggedModel]:
        """Return a run's logged models, the oldest first; none where this MLflow has none.

        Args:
            run_id: The run.
            experiment_id: Its experiment.
        """
        try:
            models: Sequence[LoggedModel] = ask_newer(
                self._ask,
                lambda client: client.search_logged_models(
                    [experiment_id],
                    f"source_run_id = '{run_id}'",
                    order_by=[{"field_name": "creation_timestamp", "ascending": True}],
                ),
            )
        except UnknownCallError:
            return ()
        return models

    def find_empty(self, run_id: str, experiment_id: str) -> list[str]:
        """Return the ids of a run's logged models that are still empty, the oldest first.

        Args:
            run_id: The run.
            experiment_id: Its experiment.
        """
        return [
            model.model_id
            for model in self.of_run(run_id, experiment_id)
            if model.status == LoggedModelStatus.PENDING
        ]

    def delete(self, model_id: str) -> None:
        """Delete a logged model that nobody needs."""
        self._ask(lambda client: client.delete_logged_model(model_id))
