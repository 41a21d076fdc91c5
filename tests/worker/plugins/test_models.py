"""Models from plug-ins: trained, resumed, saved and loaded again as those of the catalogue."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.plugins.conftest import Install
from tests.worker.training.jobs import flat, job, run, trained
from tests.worker.training.killing import assert_exact_when_killed

from talweg import spec as specs
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker import data, models
from talweg.worker.artifacts import predictor
from talweg.worker.models import saved
from talweg.worker.training.exits import of_exit

CODE = """
import math
from torch import nn
from talweg.plugins import Parameter, declare

@declare(Parameter("units", int, default=16, ge=1))
def plain(parameters, context):
    units = parameters["units"]
    first = nn.Linear(math.prod(context.input_shape), units)
    layers = [first, nn.ReLU(), nn.Linear(units, context.num_outputs)]
    if len(context.input_shape) > 1:
        layers.insert(0, nn.Flatten())
    return nn.Sequential(*layers)

@declare()
def noisy(parameters, context):
    return nn.Sequential(
        nn.Flatten(),
        nn.LazyLinear(12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3),
        nn.LazyLinear(context.num_outputs),
    )

@declare()
def pixels(parameters, context):
    assert context.output_shape[1:] == context.input_shape[1:]
    return nn.Sequential(
        nn.Conv2d(context.input_shape[0], 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, context.num_outputs, 1),
    )
"""
POINTS = {f"talweg.models:{name}": name for name in ("plain", "noisy", "pixels")}
SCENES = {"dataset": {"digit_scenes": {"num_samples": 60}}, "model": {"plugin": "pixels"}}
BACKBONE = {"embedder": {"trunk": {"plugin": "noisy"}, "size": 6}}
TASKS: dict[str, dict[str, Any]] = {
    "regression": {},
    "binary": {"dataset": "breast_cancer", "loss": "bce_with_logits"},
    "multiclass": {"dataset": "digits", "loss": "cross_entropy"},
    "multilabel": {
        "dataset": {"synthetic_multilabel": {"num_samples": 300}},
        "loss": "bce_with_logits",
    },
    "ordinal": {"loss": "coral"},
    "segmentation": {**SCENES, "loss": "dice"},
    "image_translation": {**SCENES, "loss": "mae"},
    "metric_learning": {"dataset": "digits", "model": BACKBONE, "loss": "triplet"},
    "self_supervised": {"dataset": "wine", "model": BACKBONE, "loss": "nt_xent"},
}


@pytest.fixture(autouse=True)
def _plugins(install: Install) -> None:
    install(CODE, POINTS, module="own_models")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_of_a_plain_model_trains_and_its_model_is_built_again(task: str) -> None:
    spec = job(task=task, **{"model": {"plugin": "plain"}, **TASKS[task]})
    result, _ = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    assert result.model is not None
    bundle = data.load(spec)
    # As it lies in a file.
    description = json.loads(json.dumps(predictor.describe(spec, bundle)))
    assert description["plugin"] == {"package": "own_models", "version": "1"}
    again = saved.rebuild(description, result.model.state_dict())
    x = bundle.train.x[:5]
    with torch.no_grad():
        assert torch.equal(again.network(x), result.model(x))
    assert torch.isfinite(predictor.Predictor(again)(predictor.example(spec, bundle))).all()


def test_it_trains_bit_for_bit_as_the_same_model_of_the_catalogue() -> None:
    for task, own in (("regression", {}), ("multiclass", TASKS["multiclass"])):
        plugin = {"plugin": {"name": "plain", "parameters": {"units": 8}}}
        mine = trained(job(**{"task": task, **own, "model": plugin}))
        theirs = trained(job(**{"task": task, **own, "model": {"mlp": {"hidden": [8]}}}))
        assert torch.equal(flat(mine), flat(theirs))


def test_killed_again_and_again_it_ends_the_same(tmp_path: Path) -> None:
    spec = job(model={"plugin": "noisy"}, training={"epochs": 5, "log_every_steps": 2, "seed": 3})
    undisturbed = run(spec)
    assert_exact_when_killed(spec, tmp_path / "disk", 0, undisturbed)


def test_it_is_exported_without_its_code() -> None:
    spec = job(model={"plugin": "noisy"})
    bundle = data.load(spec)
    network = models.build(spec.model, bundle.inputs.shape, 1, seed=0, task="regression")
    description = predictor.describe(spec, bundle)
    model = predictor.Predictor(saved.rebuild(description, network.state_dict())).eval()
    example = predictor.example(spec, bundle)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    more = torch.cat([example, example, example])
    torch.testing.assert_close(program.module()(more), model(more))


def test_a_saved_model_names_the_package_that_it_needs(install: Install) -> None:
    spec = job(model={"plugin": "plain"})
    description = predictor.describe(spec, data.load(spec))
    description["model"]["plugin"]["name"] = "elsewhere"
    description["plugin"] = {"package": "their-models", "version": "2"}
    with pytest.raises(ValueError, match="but got 'elsewhere'; install it: pip install their-mo"):
        saved.rebuild(description, {})


# code of a model that takes 10 features and has 1 output, what the job says of it
WORSE: list[tuple[str, str]] = [
    ("return 5", "must return a torch.nn.Module, but returned int"),
    ("return nn.Linear(3, 1)", "failed over inputs of shape (2, 10): RuntimeError"),
    ("return nn.Linear(10, 2)", "of shape (2, 1) for inputs of shape (2, 10), but returned one of "
     "shape (2, 2)"),
    ("return nn.Flatten(0)", "but returned one of shape (20,)"),
    ("return nn.LSTM(10, 1)", "but returned tuple"),
    ("return nn.AvgPool1d(10)", "no trainable parameters"),
    ("raise KeyError('x')", "failed with parameters {}: KeyError: 'x'"),
    ("return Late()", "failed over inputs of shape (32, 10): ValueError: too late"),
]  # fmt: skip
LATE = """
from torch import nn

class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(10, 1)
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        if self.calls > 5:
            raise ValueError("too late")
        return self.linear(x)

def make(parameters, context):
    """


@pytest.mark.parametrize(("code", "says"), WORSE)
def test_what_is_wrong_with_a_model_is_the_jobs_fault(
    install: Install, code: str, says: str
) -> None:
    install(LATE + code, {"talweg.models:own": "make"})
    result, _ = run(job(model={"plugin": "own"}), may_be_unwell=True)
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC), result.message
    assert says in result.message


def test_a_model_that_would_end_the_process_is_the_jobs_fault() -> None:
    result = of_exit(SystemExit("done"), job(model={"plugin": "plain"}))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert "A plug-in must raise an error instead" in result.message


def test_parameters_are_checked() -> None:
    plugin = {"plugin": {"name": "plain", "parameters": {"units": 0, "unit": 3}}}
    result, _ = run(job(model=plugin))
    assert (result.state, result.cause, result.steps) == (Job.FAILED, Outcome.USER_SPEC, 0)
    assert "plugin.parameters.units: found 0; allowed an integer >= 1" in result.message
    assert "did you mean 'units'?" in result.message


def test_batch_normalisation_in_several_processes_is_refused() -> None:
    result, _ = run(job(model={"plugin": "noisy"}, resources={"processes": 2}))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC), result.message
    assert "BatchNorm1d in plugin.inner.2" in result.message


def test_the_server_takes_it_where_a_plain_model_serves() -> None:
    for task, own in TASKS.items():
        spec = specs.from_dict({"task": task, "dataset": "diabetes", "loss": "mse", **own,
                                "model": own.get("model", {"plugin": "plain"})})  # fmt: skip
        _, violations, _ = specs.complete(spec)
        assert not [each for each in violations if each.field.startswith("model")], task
    game = specs.from_dict(
        {"task": "gan", "dataset": "wine", "loss": "gan", "model": {"plugin": "plain"}}
    )
    _, violations, _ = specs.complete(game)
    assert [each.field for each in violations] == ["model"]
