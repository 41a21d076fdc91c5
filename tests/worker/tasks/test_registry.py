"""The registry of tasks: every one whole, and its pictures loaded by those alone who draw."""

import subprocess
import sys

import pytest

from talweg.v1.tasks_pb2 import Task
from talweg.worker.tasks import TASKS
from talweg.worker.tasks.common.postprocessing import Postprocessor
from talweg.worker.tasks.registry import plots_of

MEMBERS = [field.name for field in Task.DESCRIPTOR.oneofs_by_name["kind"].fields]


def test_every_task_has_one_entry() -> None:
    assert sorted(TASKS) == sorted(MEMBERS)


@pytest.mark.parametrize("name", MEMBERS)
def test_every_task_predicts_and_draws(name: str) -> None:
    predictions = TASKS[name].predictions
    kinds = [each.kind for each in predictions.POSTPROCESSORS]
    assert all(issubclass(each, Postprocessor) for each in predictions.POSTPROCESSORS)
    assert len(set(kinds)) == len(kinds) > 0
    assert callable(predictions.postprocessor)
    plots = plots_of(name)
    assert callable(plots.draw)
    assert callable(plots.draw_losses)


def test_every_task_but_games_looks_at_its_data() -> None:
    assert {name for name in MEMBERS if TASKS[name].measured is None} == {"gan"}


def test_predicting_loads_no_scikit_learn_and_training_no_matplotlib() -> None:
    program = (
        "import sys\n"
        "def loaded(*names): print(*{n.partition('.')[0] for n in sys.modules} & {*names})\n"
        "import talweg.worker.artifacts.trained\n"
        "loaded('sklearn')\n"
        "import talweg.worker.execution.attempt\n"
        "loaded('matplotlib', 'mlflow')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
