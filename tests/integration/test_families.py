"""Each family's example, submitted as people do, against a simple baseline on the same split."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.integration.examples import EXAMPLES, TRAINED, assert_unwarned
from tests.integration.stack import Stack

from talweg.client import Job, read_jobs
from talweg.spec import override, to_dict
from talweg.worker import data
from talweg.worker.tasks.gan.metrics import sliced_wasserstein

Submit = Callable[[str], Job]
# Steps so small that the weights stay as they were drawn; one epoch leaves what ten would.
UNTRAINED = ("optimizer.adamw.learning_rate=1e-12", "training.epochs=1")


@pytest.fixture(scope="module")
def ended(stack: Stack) -> Iterator[Submit]:
    """Submits an example and waits for its end, which must be a good one."""
    with stack.client() as client:

        def submit(name: str) -> Job:
            assert name in TRAINED
            job = client.submit(EXAMPLES / f"{name}.yaml").wait(1080)
            assert job.state == "SUCCEEDED", job.message
            assert_unwarned(job)
            return job

        yield submit


def test_ordinal_is_nearer_than_the_median_grade(ended: Submit) -> None:
    job = ended("ordinal_diabetes")
    bundle = data.load(job.spec)
    median = np.median(bundle.train.y.numpy())
    baseline = np.abs(bundle.test.y.numpy() - median).mean()
    assert job.result().metrics["test/mae"] < baseline - 0.2


@pytest.mark.faults
def test_embeddings_find_unseen_classes_better_than_those_of_a_random_network(
    stack: Stack,
) -> None:
    found: dict[str, list[float]] = {}
    with stack.client() as client:
        (example,) = read_jobs(EXAMPLES / "metric_learning_digits.yaml")
        for name, changes in (("random", UNTRAINED), ("trained", ())):
            specs = [
                override(to_dict(example), [f"training.seed={seed}", *changes])
                for seed in range(3)
            ]
            jobs = [job.wait(1080) for job in client.submit_many(specs)]
            assert [job.state for job in jobs] == ["SUCCEEDED"] * 3
            found[name] = [job.result().metrics["test/recall_at_1"] for job in jobs]
        for job in jobs:
            assert_unwarned(job)
    spread = max(float(np.std(values, ddof=1)) for values in found.values())
    assert np.mean(found["trained"]) > np.mean(found["random"]) + 3 * spread
    assert min(found["trained"]) > max(found["random"])


def test_codes_of_digits_say_more_than_each_pixels_mean(ended: Submit) -> None:
    job = ended("vae_digits")
    metrics = job.result().metrics
    bundle = data.load(job.spec)
    train, test = (
        _in_units(part.x, bundle).reshape(len(part), -1).clip(0, 1)
        for part in (bundle.train, bundle.test)
    )
    mean = train.mean(axis=0).clip(1e-4, 1 - 1e-4)
    baseline = (test * np.log(mean) + (1 - test) * np.log(1 - mean)).sum(axis=1).mean()
    assert metrics["test/elbo"] > baseline + 1
    assert metrics["test/active_units"] > 3


@pytest.mark.faults
def test_generator_finds_every_mode_of_the_ring(ended: Submit) -> None:
    job = ended("gan_ring")
    metrics = job.result().metrics
    assert metrics["test/least_mode_share"] >= 0.05
    assert metrics["test/modes"] == 8
    # The simple baseline: a normal distribution with the training data's mean and covariance.
    bundle = data.load(job.spec)
    train, test = (_in_units(part.x, bundle) for part in (bundle.train, bundle.test))
    normal = np.random.default_rng(0).multivariate_normal(
        train.mean(axis=0), np.cov(train.T), len(test)
    )
    assert metrics["test/sliced_wasserstein"] < sliced_wasserstein(test, normal)


@pytest.mark.faults
def test_self_supervision_is_above_a_random_networks_probes(stack: Stack) -> None:
    (example,) = read_jobs(EXAMPLES / "self_supervised_digits.yaml")
    with stack.client() as client:
        specs = [override(to_dict(example), changes) for changes in ((), UNTRAINED)]
        trained, untrained = (job.wait(1080) for job in client.submit_many(specs))
        assert trained.state == untrained.state == "SUCCEEDED"
        assert_unwarned(trained)
        for probe in ("test/linear_probe", "test/knn_probe"):
            gain = trained.result().metrics[probe] - untrained.result().metrics[probe]
            assert gain > 0.05, probe


def _in_units(x: torch.Tensor, bundle: data.DataBundle) -> np.ndarray[Any, np.dtype[np.float64]]:
    values: np.ndarray[Any, np.dtype[np.float64]] = x.double().numpy()
    return values if bundle.inputs.scaler is None else bundle.inputs.scaler.unscale(values)
