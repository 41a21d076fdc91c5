"""The experiments in MLflow that runs are in."""

from collections.abc import Callable

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException

from talweg.spec.identity.projects import DEFAULT_PROJECT

# By which MLflow's pages open on training runs, not on traces of language models.
_TAGS = {"mlflow.experimentKind": "custom_model_development"}


def experiment_name(experiment: str, project: str | None) -> str:
    """Return the name of an experiment in MLflow: those of two projects are never one.

    Args:
        experiment: As the spec names it.
        project: Whose it is; empty or None where an earlier version has not said.
    """
    project = project or DEFAULT_PROJECT
    return experiment if project == DEFAULT_PROJECT else f"{project}/{experiment}"


def find_or_make_experiment(
    client: MlflowClient, name: str, *, restored: Callable[[str], None] = lambda _: None
) -> str:
    """Return the id of an experiment, made where there is none and restored where it was deleted.

    Args:
        client: Asks MLflow.
        name: Of `experiment_name`.
        restored: Called with the id of one that was restored, with all runs that were in it.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            made: str = client.create_experiment(name, tags=_TAGS)
            return made
        except MlflowException as exc:
            # Another machine's delivery was first.
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    experiment_id: str = experiment.experiment_id
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        client.restore_experiment(experiment_id)
        restored(experiment_id)
    return experiment_id
