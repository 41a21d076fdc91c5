"""Weights that a model starts from, frozen parameters, and learning rates by parameter."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import job, run, trained
from tests.worker.training.resumable import CASES, resumable
from tests.worker.training.stored_weights import kept_by_job, uploaded
from tests.worker.training.test_continuation import continued
from torch import Tensor, nn

from talweg.v1.jobs_pb2 import Job, Outcome, Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.weights_pb2 import TakenWeights
from talweg.worker.training import RecordingReporter, Result

Entry = TakenWeights.Entry
CONVNET = {"convnet": {"channels": [4, 6], "batch_norm": True}}
SHORT = {"steps": 4, "batch_size": 64}


def digits(**fields: Any) -> JobSpec:
    """Return a job on digits: ten classes, images of one channel."""
    return job(
        task="multiclass",
        dataset="digits",
        loss="cross_entropy",
        **{"model": CONVNET, "training": SHORT, **fields},
    )


def embedded(**fields: Any) -> JobSpec:
    """Return a job whose model gives an embedding of six numbers in place of ten classes."""
    return job(
        task="metric_learning",
        dataset="digits",
        model={"embedder": {"trunk": CONVNET, "size": 6, "normalize": False}},
        loss="triplet",
        training={"steps": 4, "batch_size": 64},
        **fields,
    )


@pytest.fixture(scope="module")
def source() -> nn.Module:
    """A network that was trained on digits."""
    return trained(digits(training={"steps": 8, "batch_size": 64, "seed": 7}))


@pytest.fixture
def weights(source: nn.Module) -> dict[str, Any]:
    return kept_by_job(source, "source")


def ran(spec: JobSpec) -> tuple[nn.Module, RecordingReporter]:
    """Run a job that must succeed."""
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    assert result.model is not None
    return result.model, report


def refused(spec: JobSpec) -> str:
    result, _ = run(spec, may_be_unwell=True)
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC), result.message
    return result.message


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def uses(report: RecordingReporter) -> dict[str, str]:
    assert report.taken is not None
    return {each.name: Entry.Use.Name(each.use) for each in report.taken.tensors}


def unchanged(model: nn.Module, source: nn.Module) -> set[str]:
    before = state(source)
    return {
        name
        for name, tensor in state(model).items()
        if name in before and torch.equal(tensor, before[name])
    }


def test_a_job_starts_from_the_weights_of_another(
    source: nn.Module, weights: dict[str, Any]
) -> None:
    slow = {"sgd": {"learning_rate": 1e-12}}
    model, report = ran(digits(weights=weights, optimizer=slow))
    assert set(uses(report).values()) == {"TAKEN"}
    assert report.taken is not None
    assert (report.taken.source, report.taken.num_new) == ("jobs/source", 0)
    for name, value in state(source).items():
        if "running" not in name and "batches" not in name:
            torch.testing.assert_close(state(model)[name], value)
    again, _ = ran(digits(weights=weights, optimizer=slow))
    assert unchanged(again, model) == set(state(model))


def test_the_last_layer_is_new_where_the_task_needs_another_shape(
    source: nn.Module, weights: dict[str, Any]
) -> None:
    frozen = ["conv*", "batch_norm*"]
    model, report = ran(embedded(weights=weights, freeze=frozen))
    assert uses(report)["linear.weight"] == "OTHER_SHAPE"
    assert uses(report)["linear.bias"] == "OTHER_SHAPE"
    (shape,) = [each for each in report.taken.tensors if each.name == "linear.weight"]  # type: ignore[union-attr]
    assert (list(shape.file_shape), list(shape.model_shape)) == ([10, 6], [6, 6])
    assert any("linear.weight (6, 6) ((10, 6) in the file)" in line for line in report.lines)
    # Frozen parts are the same bit by bit, running statistics among them; the new layer learns.
    trunk = {name for name in state(source) if not name.startswith("linear")}
    assert unchanged(model, source) == trunk
    fresh = state(ran(embedded(weights=weights, freeze=frozen, optimizer=STILL))[0])
    assert not torch.equal(fresh["linear.weight"], state(model)["linear.weight"])
    # A layer that starts at random as it should is no reason to warn.
    assert Warning.WEIGHTS_NOT_TAKEN not in {each.kind for each in report.warnings}


STILL = {"sgd": {"learning_rate": 1e-30}}


def test_a_head_of_the_same_shape_is_new_on_request(
    source: nn.Module, weights: dict[str, Any]
) -> None:
    model, report = ran(digits(weights={**weights, "new_head": True}, optimizer=STILL))
    assert uses(report)["linear.weight"] == "NEW_HEAD"
    assert "linear.weight" not in unchanged(model, source)
    assert "conv1.weight" in unchanged(model, source)


def test_layers_are_taken_whole_or_not_at_all(source: nn.Module) -> None:
    tensors = state(source)
    tensors["batch_norm2.weight"] = torch.ones(5)
    tensors["other.weight"] = torch.zeros(3)
    del tensors["batch_norm1.num_batches_tracked"]
    given = uploaded(tensors, "half")
    model, report = ran(digits(weights=given, optimizer=STILL))
    assert uses(report)["batch_norm2.weight"] == "OTHER_SHAPE"
    assert uses(report)["batch_norm2.bias"] == "WITH_ITS_LAYER"
    assert uses(report)["other.weight"] == "NOT_IN_MODEL"
    # A file without this count is whole all the same.
    assert uses(report)["batch_norm1.weight"] == "TAKEN"
    assert "conv2.weight" in unchanged(model, source)
    (warning,) = [each for each in report.warnings if each.kind == Warning.WEIGHTS_NOT_TAKEN]
    assert list(warning.layers) == ["batch_norm2"]
    message = refused(digits(weights=given, freeze=["batch_norm2"]))
    assert "freeze: found batch_norm2.weight" in message
    assert "start at random" in message


def test_what_cannot_be_taken_is_refused(source: nn.Module, weights: dict[str, Any]) -> None:
    other = job(model={"mlp": {"hidden": [4]}}, weights=weights, training=SHORT)
    message = refused(other)
    assert "no tensor of jobs/source has the name of one in the model" in message
    assert "linear1.weight" in message
    wide = digits(model={"convnet": {"channels": [8, 12]}}, weights=weights)
    assert "conv1.weight (8, 1, 3, 3) in the model, (4, 1, 3, 3) in the file" in refused(wide)
    bad = state(source)
    bad["conv1.weight"][0] = torch.nan
    assert "conv1.weight of jobs/bad" in refused(digits(weights=kept_by_job(bad, "bad")))
    stranger = digits(weights={**weights, "sha256": "0" * 64})
    assert "must have sha256 0000" in refused(stranger)
    gone = digits(weights={**weights, "job": "jobs/none"})
    assert "jobs/none has no model/weights.safetensors in the blob store" in refused(gone)
    lost = digits(weights={"stored": f"w@{'1' * 64}", "sha256": "0" * 64})
    assert "is gone from the blob store" in refused(lost)
    assert "the server sets it" in refused(digits(weights={"job": "jobs/source"}))


def test_a_damaged_file_is_told_of(weights: dict[str, Any]) -> None:
    given = kept_by_job({"a.weight": torch.zeros(1)}, "damaged")
    path = Path(os.environ["TALWEG_BLOBS"], given["job"])
    (file,) = path.rglob("weights.safetensors")
    file.write_bytes(b"no tensors")
    assert "somebody has changed it" in refused(digits(weights=given))


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        (
            {"freeze": ["covn1*"]},
            ["freeze[0]: found 'covn1*'", "conv1, batch_norm1, conv2", "Did you mean 'conv1'?"],
        ),
        ({"freeze": ["[a-z]*"]}, ["freeze all 8 parameters", "talweg predict"]),
        (
            {"learning_rates": {"lineer": 0.1}},
            ["learning_rates.lineer: found 'lineer'", "Did you mean 'linear'?"],
        ),
        (
            {"learning_rates": {"conv*": 0.1, "*.bias": 0.5, "conv1": 2}},
            ["conv1.weight matched by 'conv1' (2) and by 'conv*' (0.1)", "one pattern"],
        ),
        (
            {"learning_rates": {"conv1": 0.1}, "freeze": ["conv1"]},
            ["learning_rates.conv1: found a factor for conv1.weight, which are frozen"],
        ),
    ],
)
def test_patterns_that_do_not_fit_are_refused(fields: dict[str, Any], parts: list[str]) -> None:
    message = refused(digits(**fields))
    for part in parts:
        assert part in message


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_each_optimizer_trains_what_is_not_frozen_at_its_own_rate(optimizer: str) -> None:
    rate = {optimizer: {"learning_rate": 0.01}}
    fields = {"optimizer": rate, "training": {"steps": 1, "batch_size": 64}}
    start = state(ran(digits(optimizer=STILL, training=fields["training"]))[0])

    def moved(**more: Any) -> dict[str, Tensor]:
        after = state(ran(digits(**fields, **more))[0])
        return {name: after[name] - start[name] for name in after}

    whole = moved()
    parts = moved(freeze=["conv1"], learning_rates={"conv2": 0.25, "linear": 4})
    assert not parts["conv1.weight"].any()
    # One step without momentum is as long as its rate, but for the decay of adamw.
    torch.testing.assert_close(
        parts["conv2.weight"], 0.25 * whole["conv2.weight"], rtol=1e-3, atol=1e-7
    )
    torch.testing.assert_close(
        parts["linear.weight"], 4 * whole["linear.weight"], rtol=1e-3, atol=1e-7
    )
    torch.testing.assert_close(parts["batch_norm2.bias"], whole["batch_norm2.bias"])


def test_factors_of_1_and_groups_change_nothing() -> None:
    fields: dict[str, Any] = {
        "optimizer": {"sgd": {"learning_rate": 0.05, "momentum": 0.9}},
        "training": {"steps": 12, "batch_size": 64, "clip_norm": 0.5},
    }
    plain = state(ran(digits(**fields))[0])
    grouped = state(ran(digits(**fields, learning_rates={"conv*": 1, "linear": 1}))[0])
    assert all(torch.equal(plain[name], grouped[name]) for name in plain)


def test_schedules_and_the_reported_rate_are_those_of_factor_1() -> None:
    fields: dict[str, Any] = {
        "schedule": {"cosine": {"warmup_steps": 2}},
        "training": {"steps": 6, "batch_size": 64, "log_every_steps": 1},
    }
    _, plain = ran(digits(**fields))
    _, grouped = ran(digits(**fields, learning_rates={"conv1": 0.1}))
    assert grouped.series("lr") == plain.series("lr")


def test_batch_norm_of_frozen_layers_stays_in_evaluation_mode() -> None:
    training = {"epochs": 2, "batch_size": 256}
    model, _ = ran(digits(freeze=["batch_norm1"], training=training))
    values = state(model)
    assert not values["batch_norm1.running_mean"].any()
    assert values["batch_norm1.num_batches_tracked"] == 0
    assert values["batch_norm2.num_batches_tracked"] > 0


def test_a_game_may_freeze_a_part_of_each_player_alone() -> None:
    def game(*freeze: str) -> JobSpec:
        return job(
            task={"gan": {"critic_steps": 1, "weight_clip": 0.01}},
            dataset={"gaussian_ring": {"num_samples": 200}},
            model={"adversarial": {"generator": [8], "critic": [8]}},
            loss={"gan": {"form": "wgan"}},
            training={"steps": 6},
            freeze=freeze,
        )

    first = "adversarial.critic.0"
    before = state(ran(game())[0])
    model, _ = ran(game(first))
    assert not torch.equal(state(model)[f"{first}.weight"], before[f"{first}.weight"])
    assert "freeze the whole critic" in refused(game("adversarial.critic"))
    still, _ = ran(game("adversarial.generator.0", first))
    again, _ = ran(game(first))
    for name in (f"{first}.weight", f"{first}.bias"):
        # Clipping, which wgan does after each step, leaves them alone too.
        assert torch.equal(state(still)[name], state(again)[name])


def test_gradnorm_needs_a_shared_layer_to_train() -> None:
    def heads(loss: str) -> JobSpec:
        return job(
            task={"multitask": {"heads": ["segmentation", "depth"]}},
            dataset={"digit_scenes": {"num_samples": 40}},
            model={"multi_head": {"trunk": {"unet": {"channels": [4], "patch": 4}}}},
            loss={loss: {"losses": ["ce_dice", "mae"]}},
            training={"steps": 2, "batch_size": 8},
            freeze=["trunk"],
        )

    assert "beside loss gradnorm" in refused(heads("gradnorm"))
    ran(heads("uncertainty"))


def test_a_continued_job_may_have_other_rates(tmp_path: Path) -> None:
    def parts(epochs: int, rates: dict[str, float]) -> JobSpec:
        return job(
            model={"mlp": {"hidden": [8, 8]}},
            optimizer={"adam": {"learning_rate": 0.01}},
            training={"epochs": epochs},
            learning_rates=rates,
            freeze=["linear1.bias"],
        )

    before = parts(2, {"linear1.weight": 0.1})
    result, _ = continued(before, parts(4, {"linear2": 0.5, "linear3.bias": 2}), tmp_path)
    assert result.state == Job.SUCCEEDED, result.message
    assert isinstance(result, Result)


SETTINGS = {
    "accumulation, mixed precision": {"accumulation": 2, "precision": "bf16"},
    "reads put off": {"read_every_steps": 4},
    "a guard that rolls back": {"guard": {"rollback": {"keep_every_steps": 2}}},
    "clipping by value": {"clip_value": 0.01},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_frozen_layers_stay_under_every_setting(settings: dict[str, Any]) -> None:
    training = {"steps": 9, "batch_size": 64}
    parts: dict[str, Any] = {"freeze": ["conv1", "batch_norm1"], "learning_rates": {"linear": 2}}
    start = state(ran(digits(optimizer=STILL, training=training, freeze=parts["freeze"]))[0])
    after = state(ran(digits(training={**training, **settings}, **parts))[0])
    for name in ("conv1.weight", "batch_norm1.weight", "batch_norm1.bias"):
        assert torch.equal(after[name], start[name])
    assert not torch.equal(after["conv2.weight"], start["conv2.weight"])
    if "read_every_steps" in settings:
        plain = state(ran(digits(training=training, **parts))[0])
        assert all(torch.equal(after[name], plain[name]) for name in plain)


@pytest.mark.parametrize("name", [name for name in CASES if "weights of another" not in name])
def test_a_model_of_every_task_takes_its_own_weights_whole(name: str) -> None:
    spec = resumable(name)
    spec.ClearField("diagnostics")
    spec.training.ClearField("early_stopping")
    spec.training.ClearField("curriculum")
    spec.training.steps = 2
    if spec.schedule.WhichOneof("kind") != "plateau":
        spec.ClearField("schedule")
    else:
        spec.schedule.plateau.warmup_steps = 0
    model, _ = ran(spec)
    weights = kept_by_job(model, "own")
    spec.weights.job, spec.weights.sha256 = weights["job"], weights["sha256"]
    _, report = ran(spec)
    assert report.taken is not None
    assert report.taken.num_new == 0
    # Only what a loss has counted is left in the file.
    assert {each.partition(".")[0] for each, use in uses(report).items() if use != "TAKEN"} <= {
        "loss"
    }
