"""Warnings while it trains: what deserves one gets it, and nothing else does."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.integration.examples import TRAINED
from tests.worker.training.jobs import OF_TRAINING, job, run
from tests.worker.training.poisoned import Run
from torch import nn

from talweg.client import read_jobs
from talweg.spec import fill_message, job_models, num_outputs, output_activation, override, to_dict
from talweg.spec import parse as parse_job
from talweg.v1.jobs_pb2 import Job, Warning
from talweg.v1.losses_classification_pb2 import Bce
from talweg.v1.losses_pb2 import Loss
from talweg.worker import data, tasks
from talweg.worker.losses import build
from talweg.worker.training.monitors.first_loss import untrained_loss
from talweg.worker.training.monitors.health import _due
from talweg.worker.training.monitors.layers import Layers
from talweg.worker.training.monitors.signs import Look, exploding, vanishing, zero_gradients

EXAMPLES = sorted((Path(__file__).parents[3] / "client/examples").glob("*.yaml"))
# The others are trained, and looked at for warnings, on a whole stack.
ALONE = [path for path in EXAMPLES if path.stem not in TRAINED]
# A batch of scenes, which takes minutes. `make faults` trains it.
STUDIES = ("study_task_weights",)
DEEP = [{"linear": {"out_features": 16}}, "sigmoid"] * 9 + ["linear"]


def warned(spec: Any) -> dict[Warning.Kind.ValueType, Warning]:
    """Run a job that must come to its end, and give its warnings of training by kind."""
    _, report = run(spec, may_be_unwell=True)
    found = [warning for warning in report.warnings if warning.kind in OF_TRAINING]
    by_kind = {warning.kind: warning for warning in found}
    assert len(by_kind) == len(found)
    return by_kind


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.faults if path.stem in STUDIES else (), id=path.stem)
        for path in ALONE
    ],
)
def test_no_example_is_warned_of(path: Path) -> None:
    specs = [spec for spec in read_jobs(path) if spec.training.seed == 0]
    assert specs
    for spec in specs:
        if any(job_models(spec)):
            # It needs another job beside it, as its own test has.
            continue
        if spec.dataset.HasField("digit_scenes"):
            # Minutes long; the examples' own tests see to the end of them. A hundred steps have
            # three looks at the gradients, however many scenes there are.
            spec.training.steps = 100
            spec.dataset.digit_scenes.num_samples = 200
        result, _ = run(spec)
        assert result.state == Job.SUCCEEDED, result.message


def test_the_readmes_job_is_not_warned_of() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text()
    begin = text.index("```yaml\ntask:") + len("```yaml\n")
    result, _ = run(parse_job(text[begin : text.index("```", begin)]))
    assert result.state == Job.SUCCEEDED


def test_gradients_that_vanish() -> None:
    found = warned(job(model={"sequential": {"layers": DEEP}}, training={"steps": 100}))
    warning = found[Warning.VANISHING_GRADIENT]
    assert warning.layers[0] == "0_linear"
    assert "18_linear" not in warning.layers
    assert warning.field == "model"
    assert "at steps 16, 49 and 95" in warning.message
    assert "relu" in warning.message
    assert found.keys() == {Warning.VANISHING_GRADIENT}
    # Three looks must agree.
    assert warned(job(model={"sequential": {"layers": DEEP}}, training={"steps": 94})) == {}


def steps(spec: Any, change: Any) -> list[Warning]:
    """Train a job whose network was changed, and give its warnings of training."""
    changed = Run(spec)
    change(changed.setup.state.model)
    changed.to_the_end()
    return [warning for warning in changed.report.warnings if warning.kind in OF_TRAINING]


def test_gradients_that_explode_on_their_way_back() -> None:
    def widen(model: nn.Module) -> None:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.endswith("weight"):
                    weight.mul_(20 if not name.startswith("0_") else 1e-9)

    layers = [{"linear": {"out_features": 16, "bias": False}}] * 5 + ["linear"]
    spec = job(
        model={"sequential": {"layers": layers}},
        optimizer={"sgd": {"learning_rate": 1e-18, "momentum": 0}},
        training={"steps": 100},
    )
    found = {warning.kind: warning for warning in steps(spec, widen)}
    assert "0_linear" in found[Warning.EXPLODING_GRADIENT].layers
    assert Warning.VANISHING_GRADIENT not in found


def test_gradients_that_have_grown() -> None:
    def look(step: int, norm: float) -> Look:
        return Look(step, 1.0, {"a": 1.0, "b": norm}, frozenset())

    first = {"a": 1.0, "b": 0.5}
    warning = exploding([look(95, 6e3), look(159, 7e3), look(286, 8e3)], first)
    assert warning is not None
    assert list(warning.layers) == ["b"]
    assert "8.0e+03 while they started at 5.0e-01" in warning.message
    assert exploding([look(95, 6e3), look(159, 4e3), look(286, 8e3)], first) is None


def test_a_norm_of_zero_is_counted() -> None:
    """Gradients so small that their squares underflow are no zeros."""
    tiny = steps(
        job(model={"mlp": {"hidden": [4]}}, loss="mae", training={"steps": 1}),
        lambda model: None,
    )
    assert tiny == []
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    layers = Layers(model)

    def look() -> Look:
        seen = layers.gradients()
        return Look(16, 1.0, seen.norms, seen.zero)

    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert isinstance(model[0], nn.Linear)
    model[0].weight.grad = torch.full((2, 2), 1e-30)
    model[0].bias.grad = torch.zeros(2)
    assert float(torch.linalg.vector_norm(model[0].weight.grad)) == 0
    assert look().norms["0"] == 0
    assert look().zero == frozenset()
    assert zero_gradients([look()] * 3) is None
    lost = vanishing([look()] * 3)
    assert lost is not None
    assert list(lost.layers) == ["0"]
    model[0].weight.grad = torch.zeros(2, 2)
    assert look().zero == {"0"}
    assert vanishing([look()] * 3) is None
    dead = zero_gradients([look()] * 3)
    assert dead is not None
    assert list(dead.layers) == ["0"]


def test_dead_units_and_the_layers_behind_them() -> None:
    def kill(model: nn.Module) -> None:
        with torch.no_grad():
            model.get_parameter("linear1.bias").fill_(-100)

    spec = job(
        model={"mlp": {"hidden": [16, 8]}},
        optimizer={"adamw": {"learning_rate": 1e-4}},
        training={"steps": 100},
    )
    found = {warning.kind: warning for warning in steps(spec, kill)}
    assert list(found[Warning.ZERO_GRADIENT].layers) == ["linear1"]
    # And some of those that get nothing but 0 from it.
    assert "relu1" in found[Warning.DEAD_UNITS].layers
    assert "16 of 16 of relu1" in found[Warning.DEAD_UNITS].message
    assert steps(spec, lambda model: None) == []


def test_hooks_are_gone_when_it_ends() -> None:
    for last in (49, 52, 100):
        spec = job(model={"mlp": {"hidden": [16, 8]}}, training={"steps": last})
        result, _ = run(spec)
        assert result.model is not None
        assert all(not module._forward_hooks for module in result.model.modules())


def test_a_loss_that_stands_still() -> None:
    spec = job(
        optimizer={"sgd": {"learning_rate": 1e-12, "momentum": 0}},
        training={"steps": 120, "batch_size": 266},
    )
    found = warned(spec)
    assert found.keys() == {Warning.LOSS_CONSTANT}
    assert "1e-12" in found[Warning.LOSS_CONSTANT].message
    # Different batches alone move it, so that nothing can be said.
    assert warned(job(optimizer={"sgd": {"learning_rate": 1e-12}}, training={"steps": 120})) == {}


def test_a_loss_that_is_0_from_the_first_step_on() -> None:
    found = warned(job(loss={"expression": "0 * (pred - target)"}, training={"steps": 120}))
    assert "Check its weights and margins" in found[Warning.LOSS_CONSTANT].message


def test_a_warm_up_may_stand_still() -> None:
    def spec(warmup: int) -> Any:
        return job(
            optimizer={"sgd": {"learning_rate": 1e-9, "momentum": 0}},
            schedule={"constant": {"warmup_steps": warmup}},
            training={"steps": 120, "batch_size": 266},
        )

    assert warned(spec(100)) == {}
    assert warned(spec(0)).keys() == {Warning.LOSS_CONSTANT}


# The first loss.

LN2 = math.log(2)
UNTRAINED: list[tuple[str, str, Any, float]] = [
    ("multiclass", "digits", "cross_entropy", math.log(10)),
    ("multiclass", "wine", "cross_entropy", math.log(3)),
    ("multiclass", "digits", {"cross_entropy": {"label_smoothing": 0.1}}, math.log(10)),
    ("multiclass", "digits", {"focal": {"gamma": 2}}, 0.9**2 * math.log(10)),
    ("binary", "breast_cancer", "bce_with_logits", LN2),
    ("multiclass", "digits", "multi_margin", 0.9),
    ("binary", "breast_cancer", {"focal_binary": {"alpha": 0.5, "gamma": 2}}, LN2 / 8),
    ("multilabel", "synthetic_multilabel", "bce_with_logits", LN2),
]


@pytest.mark.parametrize(("task", "dataset", "loss", "value"), UNTRAINED, ids=str)
def test_the_known_value_of_an_untrained_model(
    task: str, dataset: str, loss: Any, value: float
) -> None:
    spec = job(task=task, dataset=dataset, loss=loss, model="linear")
    bundle = data.load(spec)
    runner = tasks.make(spec, bundle)
    pred = torch.randn(len(bundle.train), num_outputs(spec, bundle.num_targets))
    inputs = {"pred": pred, "target": runner.arrays(bundle.train)["target"]}
    ends_in = output_activation(spec)
    found = untrained_loss(runner.criterion, inputs, ends_in=ends_in)
    assert found == pytest.approx(value, rel=1e-4)


def test_a_loss_of_probabilities_is_known_too() -> None:
    inputs = {"pred": torch.rand(9), "target": torch.ones(9)}
    found = untrained_loss(build(fill_message(Loss(bce=Bce()))), inputs, ends_in="sigmoid")
    assert found == pytest.approx(LN2)


def test_a_first_loss_far_above_it() -> None:
    raw = {"preprocessing": {"standardise_inputs": False}, "training": {"steps": 3}}
    spec = job(
        task="multiclass", dataset="wine", loss="cross_entropy", model={"mlp": {"hidden": [64]}},
        **raw,
    )  # fmt: skip
    found = warned(spec)
    assert found.keys() == {Warning.FIRST_LOSS_FAR}
    assert "1.099 (ln 3)" in found[Warning.FIRST_LOSS_FAR].message
    assert found[Warning.FIRST_LOSS_FAR].field == "loss"
    tame = override(to_dict(spec), ["preprocessing.standardise_inputs=true"])
    assert warned(job(**tame)) == {}


def test_a_loss_with_weights_of_its_own_has_no_known_value() -> None:
    spec = job(task="multiclass", dataset="wine", loss="arcface", training={"steps": 3})
    assert warned(spec) == {}


def test_what_was_seen_outlives_an_interruption() -> None:
    spec = job(model={"sequential": {"layers": DEEP}}, training={"steps": 200})
    whole = Run(spec)
    whole.to_the_end()
    again = Run(spec)
    kept = whole.setup.snapshots.capture()
    kept.values = json.loads(json.dumps(kept.values))
    again.setup.snapshots.restore(kept)
    assert again.setup.step.health.values() == whole.setup.step.health.values()
    again.setup.step.health._warn(Warning(kind=Warning.VANISHING_GRADIENT))
    assert again.report.warnings == []
    assert [kind.kind for kind in whole.report.warnings] == [Warning.VANISHING_GRADIENT]


def test_looks_are_seldom() -> None:
    due = [_due(count) for count in range(12)]
    assert due[:4] == [15, 48, 94, 158]
    assert all(later - earlier == 251 for earlier, later in zip(due[3:], due[4:], strict=False))
    # No small period of a training that goes by turns meets them all at one place.
    for period in range(2, 7):
        assert len({step % period for step in due[:5]}) > 1
