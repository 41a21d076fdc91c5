"""What a task tells the training by facts agrees with what it does."""

import pytest
from tests.worker.training.jobs import job

from talweg.worker import data, tasks
from talweg.worker.tasks import TASKS, TaskRunner


def runners(base: type[TaskRunner] = TaskRunner) -> list[type[TaskRunner]]:
    """Return all classes of runners below a base."""
    return [each for kind in base.__subclasses__() for each in (kind, *runners(kind))]


def test_every_task_has_a_runner() -> None:
    assert len(runners()) >= len(TASKS)


@pytest.mark.parametrize("runner", runners(), ids=lambda runner: runner.__name__)
def test_a_task_that_gives_values_of_the_very_step_says_so(runner: type[TaskRunner]) -> None:
    # Where it does not, windows of deferred reads do not end for its points.
    assert runner.watches == (runner.watched is not TaskRunner.watched)


def test_where_the_loss_is_not_of_the_targets_they_tell_no_divisor() -> None:
    spec = job(task="self_supervised", dataset="wine", model="embedder", loss="negative_cosine")
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    arrays = task.arrays(bundle.train)
    divisor = task.divisor(arrays)
    assert divisor is None or divisor(arrays["target"]) is None
    assert task.divisor({"x": arrays["x"]}) is None
