from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from talweg.spec import fill, from_dict, metrics_of
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, models, tasks, training
from talweg.worker.tasks.self_supervised.augmentations import Augmentation
from talweg.worker.tasks.self_supervised.task import SelfSupervised, knn_probe, linear_probe
from talweg.worker.training import NeverStop, RecordingReporter, Result

LOSSES = ["nt_xent", "info_nce", "clip", "negative_cosine", "vicreg", "barlow_twins"]
STILL = Augmentation(rotation=0, shift=0, noise=0, masked=0)


def job(**fields: Any) -> JobSpec:
    spec = {
        "task": "self_supervised",
        "dataset": "digits",
        "model": {"embedder": {"size": 8}},
        "loss": "nt_xent",
        "optimizer": {"adamw": {"learning_rate": 0.003}},
        "training": {"epochs": 2, "batch_size": 64, "log_every_steps": 1},
        **fields,
    }
    return fill(from_dict(spec))


def run(spec: JobSpec) -> tuple[Result, RecordingReporter]:
    report = RecordingReporter()
    result = training.run(spec, report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    return result, report


def changed(**fields: Any) -> Augmentation:
    return Augmentation(**{"rotation": 0, "shift": 0, "noise": 0, "masked": 0, **fields})


def test_views_that_change_nothing_are_the_samples() -> None:
    x = torch.randn(5, 1, 8, 8)
    assert torch.equal(STILL.draw(x), x)


def test_images_are_moved_by_whole_pixels_at_the_most() -> None:
    x = torch.zeros(400, 1, 9, 9)
    x[:, 0, 4, 4] = 1
    moved = changed(shift=2).draw(x)
    rows = torch.arange(9.0)
    mass = moved[:, 0].sum(dim=(1, 2))
    down = (moved[:, 0].sum(dim=2) * rows).sum(dim=1) / mass - 4
    right = (moved[:, 0].sum(dim=1) * rows).sum(dim=1) / mass - 4
    for way in (down, right):
        assert 1.8 < float(way.abs().max()) <= 2.001
        assert abs(float(way.mean())) < 0.3
    # Each image goes its own way.
    assert abs(float(np.corrcoef(down, right)[0, 1])) < 0.2


def test_images_are_turned_about_their_middle() -> None:
    x = torch.zeros(300, 1, 33, 33)
    x[:, 0, 16, 26:29] = 1
    turned = changed(rotation=30).draw(x)[:, 0]
    places = torch.arange(33.0) - 16
    mass = turned.sum(dim=(1, 2))
    right = (turned.sum(dim=1) * places).sum(dim=1) / mass
    down = (turned.sum(dim=2) * places).sum(dim=1) / mass
    degrees = torch.rad2deg(torch.atan2(down, right))
    assert 27 < float(degrees.max()) <= 30.5
    assert -30.5 <= float(degrees.min()) < -27
    assert torch.hypot(right, down) == pytest.approx(np.full(300, 11), abs=0.5)


def test_noise_and_masks_have_their_size() -> None:
    x = torch.full((200, 50), 3.0)
    assert float((changed(noise=0.5).draw(x) - 3).std()) == pytest.approx(0.5, rel=0.05)
    masked = changed(masked=0.25).draw(x)
    assert float((masked == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert set(masked.flatten().tolist()) == {0.0, 3.0}


def test_a_generator_draws_the_same_view_again() -> None:
    x = torch.randn(5, 1, 8, 8)
    views = Augmentation(rotation=15, shift=1, noise=0.3, masked=0.1)
    one, two = (views.draw(x, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(views.draw(x), views.draw(x))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_to_find_the_other_view(loss: str) -> None:
    spec = job(loss=loss, training={"epochs": 6, "batch_size": 64, "log_every_steps": 1})
    result, report = run(spec)
    found = [value for _, value in report.series("train/loss")]
    first, last = np.mean(found[:5]), np.mean(found[-5:])
    assert last < first - 0.1 * abs(first)
    told = {name for _, values in report.points for name in values if name.startswith("test/")}
    assert told == {f"test/{name}" for name in ("loss", *(m.name for m in metrics_of(spec)))}
    assert set(result.shown) == {"embeddings", "labels"}


def test_labels_change_nothing_that_is_learnt() -> None:
    spec = job()
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    network = models.build(spec.model, bundle.inputs.shape, task.num_outputs, seed=0)
    arrays = task.arrays(bundle.train)
    paid = []
    for labels in (arrays["target"], torch.zeros_like(arrays["target"])):
        batch = tasks.Batch({"x": arrays["x"][:32], "target": labels[:32]})
        torch.manual_seed(0)

        class Now:
            step = 1
            epoch = 1

        paid.append(float(task.loss(network, batch, Now()).detach()))
    assert paid[0] == paid[1]


def test_a_predictor_stands_before_one_side_where_the_other_has_no_gradient() -> None:
    spec = job(loss="negative_cosine")
    task = tasks.make(spec, data.load(spec))
    one, two = (torch.randn(16, 8, requires_grad=True) for _ in range(2))
    loss = task.criterion({"one": one, "two": two})
    slopes = torch.autograd.grad(loss, [one, two])
    # Both directions count, so each side learns once.
    assert all(float(slope.abs().sum()) > 0 for slope in slopes)
    names = {name.partition(".")[0] for name, _ in task.criterion.named_parameters()}
    assert names == {"projector", "predictor"}
    plain = tasks.make(job(), data.load(job()))
    assert {name.partition(".")[0] for name, _ in plain.criterion.named_parameters()} == {
        "projector"
    }


def test_the_projectors_weights_are_learnt_and_decided_by_the_seed() -> None:
    result, _ = run(job())
    assert result.model is not None
    names = {name for name, _ in result.model.named_parameters() if name.startswith("loss.")}
    assert any("projector" in name for name in names)
    spec = job()
    bundle = data.load(spec)
    first, again = (tasks.make(spec, bundle).criterion.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    before = first["projector.0.weight"]
    after = result.model.state_dict()["loss.projector.0.weight"]
    assert not torch.equal(before, after)


def test_probes_against_other_classifiers() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 800)
    places = rng.normal(size=(4, 6)) * 2
    vectors = places[labels] + rng.normal(size=(800, 6))
    parts = vectors[:600], labels[:600], vectors[600:], labels[600:]
    expected = LogisticRegression().fit(*parts[:2]).score(*parts[2:])
    assert linear_probe(*parts) == pytest.approx(expected, abs=0.05)
    # A vector's length is not seen by the neighbours.
    lengths = rng.uniform(0.1, 10, size=(800, 1))
    assert knn_probe(*parts) == knn_probe(
        vectors[:600] * lengths[:600], labels[:600], vectors[600:] * lengths[600:], labels[600:]
    )


def test_probes_of_one_known_class_say_it() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 2))
    ones = np.ones(4, dtype=np.int64)
    assert linear_probe(vectors[:4], ones, vectors[4:], np.array([1, 0])) == 0.5
    assert knn_probe(vectors[:4], ones, vectors[4:], np.array([1, 0])) == 0.5


def test_a_last_batch_of_one_sample_is_judged_without_its_loss() -> None:
    spec = job(loss="barlow_twins")
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    assert isinstance(task, SelfSupervised)
    network = models.build(spec.model, bundle.inputs.shape, task.num_outputs, seed=0).eval()
    task.criterion.eval()
    arrays = task.arrays(bundle.test)
    with torch.no_grad():
        accumulator = task.accumulator(network)
        for rows in (slice(0, 20), slice(20, 21)):
            accumulator.add(tasks.Batch({name: array[rows] for name, array in arrays.items()}))
        values = accumulator.result().values
    assert set(values) == {"loss", "linear_probe", "knn_probe"}
