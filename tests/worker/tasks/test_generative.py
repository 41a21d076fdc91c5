import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import stats
from torch import nn
from torch.nn import functional as F

from talweg.spec import fill, from_dict, metrics_of
from talweg.v1.jobs_pb2 import Job, Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, models, tasks, training
from talweg.worker.artifacts import predictor as kept
from talweg.worker.data import DataBundle
from talweg.worker.models.saved import MODEL, WEIGHTS
from talweg.worker.tasks.gan.metrics import mode_shares, sliced_wasserstein
from talweg.worker.tasks.gan.task import Gan, players
from talweg.worker.tasks.vae.task import network_of
from talweg.worker.training import NeverStop, RecordingReporter, Result
from talweg.worker.training.optim.optimizers import build as build_optimizer


def vae(**fields: Any) -> JobSpec:
    spec = {
        "task": "vae",
        "dataset": "digits",
        "model": {"autoencoder": {"hidden": [32]}},
        "loss": "vae",
        "optimizer": {"adamw": {"learning_rate": 0.003}},
        "training": {"epochs": 3},
        **fields,
    }
    return fill(from_dict(spec))


def gan(game: dict[str, Any] | None = None, form: str = "hinge", **fields: Any) -> JobSpec:
    spec = {
        "task": {"gan": game or {}},
        "dataset": "gaussian_ring",
        "model": {"adversarial": {"noise": 3, "generator": [16], "critic": [16]}},
        "loss": {"gan": {"form": form}},
        "training": {"steps": 20, "log_every_steps": 1},
        **fields,
    }
    return fill(from_dict(spec))


def run(spec: JobSpec) -> tuple[Result, RecordingReporter]:
    report = RecordingReporter()
    result = training.run(spec, report=report, control=NeverStop(), device="cpu")
    return result, report


def made(spec: JobSpec) -> tuple[Any, DataBundle, nn.Module]:
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    network = models.build(spec.model, bundle.inputs.shape, task.num_outputs, seed=0)
    task.start(network)
    return task, bundle, network


def result(task: Any, network: nn.Module, part: Any) -> tasks.EvalResult:
    network.eval()
    with torch.no_grad():
        accumulator = task.accumulator(network)
        arrays = task.arrays(part)
        for start in range(0, len(part), 100):
            rows = slice(start, start + 100)
            accumulator.add(tasks.Batch({name: array[rows] for name, array in arrays.items()}))
        result: tasks.EvalResult = accumulator.result()
    return result


@pytest.mark.parametrize("recon", ["bce_logits", "bce", "mse", "gaussian"])
def test_the_bound_is_its_parts_and_beta_weighs_one(recon: str) -> None:
    task, bundle, network = made(vae(loss={"vae": {"recon": recon, "beta": 3}}))
    values = result(task, network, bundle.test).values
    assert set(values) == {"loss", *(metric.name for metric in metrics_of(vae()))}
    assert values["elbo"] == pytest.approx(-values["reconstruction"] - values["kl"])
    assert values["loss"] == pytest.approx(values["reconstruction"] + 3 * values["kl"], rel=1e-5)
    with torch.no_grad():
        mu, logvar = network_of(network).encode(bundle.test.x)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, (logvar / 2).exp()), torch.distributions.Normal(0, 1)
    )
    assert values["kl"] == pytest.approx(float(kl.sum(1).mean()), rel=1e-4)
    variances = mu.numpy().var(axis=0)
    assert values["active_units"] == (variances > 0.01).sum()


def test_yes_or_no_is_made_again_in_the_datas_own_units() -> None:
    task, bundle, network = made(vae())
    raw = data.load(vae(preprocessing={"standardise_inputs": False})).test.x
    assert torch.allclose(task.arrays(bundle.test)["target"], raw, atol=1e-6)
    assert 0 == float(raw.min()) == float(task.arrays(bundle.test)["target"].min())
    shown = result(task, network, bundle.test).shown
    assert shown["originals"] == pytest.approx(raw[:8].numpy(), abs=1e-6)
    mu, _ = network_of(network).encode(bundle.test.x[:8])
    again = network_of(network).decode(mu).sigmoid()
    assert shown["again"] == pytest.approx(again.detach().numpy(), abs=1e-6)
    assert shown["samples"].shape == (64, 1, 8, 8)


def test_data_that_is_no_yes_or_no_is_refused() -> None:
    result, _ = run(vae(dataset="wine", loss={"vae": {"recon": "bce_logits"}}))
    assert result.state == Job.FAILED
    assert result.steps == 0
    assert "[0, 1]" in result.message
    assert run(vae(dataset="wine", loss={"vae": {"recon": "gaussian"}}))[0].state == Job.SUCCEEDED


def test_a_collapsed_code_brings_a_warning_and_another_does_not() -> None:
    result, report = run(vae(loss={"vae": {"beta": 300}}, training={"epochs": 6}))
    assert result.state == Job.SUCCEEDED, result.message
    assert report.last("test/active_units") == 0
    (warning,) = (found for found in report.warnings if found.kind == Warning.CODE_COLLAPSED)
    assert "0 of the 8 latent dimensions" in warning.message
    result, report = run(vae(training={"epochs": 6}))
    assert report.last("test/active_units") > 3
    assert Warning.CODE_COLLAPSED not in [found.kind for found in report.warnings]


def test_without_test_data_the_last_validation_warns() -> None:
    split = {"train": 0.8, "validation": 0.2, "test": 0}
    _, report = run(vae(loss={"vae": {"beta": 300}}, split=split, training={"epochs": 6}))
    assert [found.kind for found in report.warnings].count(Warning.CODE_COLLAPSED) == 1


def test_sliced_wasserstein_is_the_mean_over_directions() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(300, 1)), rng.normal(2, 1, size=(300, 1))
    # In one dimension every direction is the same.
    expected = stats.wasserstein_distance(one[:, 0], other[:, 0])
    assert sliced_wasserstein(one, other) == pytest.approx(expected)
    plane = rng.normal(size=(300, 2))
    assert sliced_wasserstein(plane, plane[::-1]) == pytest.approx(0)
    # The mean of |cos| over directions is 2/π.
    assert sliced_wasserstein(plane, plane + [3, 0]) == pytest.approx(6 / np.pi, rel=0.1)


def test_modes_are_counted_within_four_sd() -> None:
    modes = np.array([[0.0, 0.0], [10.0, 0.0]])
    samples = np.array([[0.3, 0.0], [0.0, 0.39], [0.0, 0.5], [10.0, 0.1]])
    assert mode_shares(samples, modes, 0.1).tolist() == [0.5, 0.25]


def test_the_ring_holds_its_own_modes() -> None:
    task, _, _ = made(gan())
    raw = data.LOADERS["gaussian_ring"](gan().dataset.gaussian_ring).arrays
    centres, sd = task.modes
    assert mode_shares(raw["x"], centres, sd) == pytest.approx(np.full(8, 1 / 8), abs=0.001)
    near = np.linalg.norm(raw["x"][:, None] - centres, axis=-1).argmin(axis=1)
    assert (near == raw["y"]).all()


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_in_each_step_one_player_moves_and_the_other_keeps_still(optimizer: str) -> None:
    spec = gan({"critic_steps": 2}, optimizer={optimizer: {}})
    task, bundle, network = made(spec)
    both = players(network)
    sides = {"critic": both.critic, "generator": both.generator}
    moves = build_optimizer(spec.optimizer, list(network.parameters()))
    batch = tasks.Batch({"x": bundle.train.x[:32]})

    class Now:
        step = 0
        epoch = 1

    moved = []
    for step in range(1, 7):
        Now.step = step
        before = {name: flat(side) for name, side in sides.items()}
        task.loss(network, batch, Now).backward()
        moves.step()
        moves.zero_grad(set_to_none=True)
        moved.append([name for name, side in sides.items() if not flat(side).equal(before[name])])
    assert moved == [["critic"], ["critic"], ["generator"]] * 2
    assert all(parameter.requires_grad for parameter in network.parameters())


def flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).clone()


def test_the_critic_may_move_at_a_rate_of_its_own() -> None:
    _, report = run(gan({"critic_rate": 4}, training={"steps": 4, "log_every_steps": 1}))
    rates = [rate for _, rate in report.series("lr")]
    assert rates == pytest.approx([0.004, 0.001] * 2)


@pytest.mark.parametrize(
    ("form", "game"),
    [
        ("bce", {}),
        ("hinge", {}),
        ("lsgan", {}),
        ("wgan", {"gradient_penalty": 10}),
        ("wgan", {"weight_clip": 0.05, "critic_steps": 3}),
    ],
)
def test_every_game_is_played_and_judged(form: str, game: dict[str, Any]) -> None:
    spec = gan(game, form)
    result, report = run(spec)
    assert result.state == Job.SUCCEEDED, result.message
    told = {name for _, values in report.points for name in values}
    assert {"train/critic_loss", "train/generator_loss"} <= told
    names = {metric.name for metric in metrics_of(spec)}
    assert {name for name in told if name.startswith("test/")} == {f"test/{n}" for n in names}
    assert set(result.shown) == {"originals", "samples"}
    if "weight_clip" in game:
        assert result.model is not None
        sizes = [float(p.detach().abs().max()) for p in players(result.model).critic.parameters()]
        assert max(sizes) <= 0.05 + 1e-6


def test_a_player_at_rest_is_no_dead_layer() -> None:
    # A period at which the early looks meet the critic's steps alone.
    game = {"critic_steps": 2, "gradient_penalty": 1}
    _, report = run(gan(game, "wgan", training={"steps": 300}))
    assert report.warnings == []


def test_modes_are_told_where_they_are_known_alone() -> None:
    _, report = run(gan(dataset="digits"))
    told = {name for _, values in report.points for name in values if name.startswith("test/")}
    assert told == {"test/sliced_wasserstein"}


def test_the_penalty_is_paid_by_the_critic() -> None:
    plain, bundle, network = made(gan())
    held, _, _ = made(gan({"gradient_penalty": 10}))
    assert isinstance(plain, Gan)

    class Now:
        step = 1
        epoch = 1

    batch = tasks.Batch({"x": bundle.train.x[:16]})
    paid = []
    for task in (plain, held):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            paid.append(float(task.loss(network, batch, Now()).detach()))
    assert paid[1] > paid[0] + 1


@pytest.mark.parametrize(
    "spec",
    [vae(), vae(loss={"vae": {"recon": "gaussian"}}, dataset="wine"), gan()],
    ids=["yes or no", "numbers", "generator"],
)
def test_what_is_kept_makes_samples_in_the_datas_own_units(spec: JobSpec, tmp_path: Path) -> None:
    task, bundle, network = made(spec)
    save_file(network.state_dict(), tmp_path / WEIGHTS)
    (tmp_path / MODEL).write_text(json.dumps(kept.describe(spec, bundle)))
    predictor = kept.load(tmp_path)
    x = kept.example(spec, bundle)
    found = predictor(x)
    network.eval()
    scaler = bundle.inputs.scaler
    assert scaler is not None
    if spec.task.HasField("gan"):
        expected = scaler.unscale(network(x).detach().double().numpy())
    else:
        again, _, _ = network(bundle.train.x[:4])
        expected = again.sigmoid().detach().numpy()
        if not spec.dataset.HasField("digits"):
            expected = scaler.unscale(again.detach().double().numpy())
    np.testing.assert_allclose(
        found.detach().numpy(), expected.reshape(4, -1), rtol=1e-3, atol=1e-4
    )
    assert F.mse_loss(found, predictor(x)) == 0


@pytest.mark.parametrize(("dataset", "form"), [("wine", "gaussian"), ("digits", "bce_logits")])
def test_a_job_says_how_reconstructions_are_judged(dataset: str, form: str) -> None:
    result, report = run(vae(dataset=dataset, loss="vae", training={"steps": 2}))
    assert result.state == Job.SUCCEEDED, result.message
    assert any(f"loss.vae.recon is {form}:" in line for line in report.lines)
