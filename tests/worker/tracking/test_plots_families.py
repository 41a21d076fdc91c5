"""The pictures of embeddings, games and codes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from talweg.spec import fill, from_dict, to_dict
from talweg.worker.tasks.common.plots.projection import principal
from talweg.worker.tracking import spool
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.plots.task import draw_all
from talweg.worker.tracking.spool import SpoolWriter

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((20, 1, 8, 8)).astype(np.float32)
COLOURED = RANDOM.random((70, 3, 6, 9)).astype(np.float32)
VECTORS = RANDOM.normal(size=(300, 5)).astype(np.float32)
EMBEDDER = {"task": "metric_learning", "dataset": "digits", "model": "embedder", "loss": "supcon"}
PAIRS = {**EMBEDDER, "dataset": "digit_pairs", "loss": "contrastive"}
GAME = {"task": "gan", "dataset": "digits", "model": "adversarial", "loss": "gan"}
FEATURES = {
    "task": "image_translation", "dataset": "digit_scenes", "model": "unet",
    "loss": {"perceptual": {"network": {"job": "jobs/a"}, "layers": ["relu1", "relu2"],
                            "learned": True}},
}  # fmt: skip
CODES = {"task": "vae", "dataset": "digits", "model": "autoencoder", "loss": "vae"}


@pytest.mark.parametrize(
    ("spec", "shown", "pictures"),
    [
        (EMBEDDER, {"embeddings": VECTORS, "labels": RANDOM.integers(0, 3, 300)}, {"embeddings"}),
        (EMBEDDER, {"embeddings": VECTORS, "labels": np.arange(300)}, {"embeddings"}),
        (EMBEDDER, {"embeddings": VECTORS[:40, :1], "labels": np.arange(40)}, {"embeddings"}),
        (PAIRS, {"alike": VECTORS[:, 0] ** 2, "unlike": VECTORS[:200, 1] ** 2 + 1}, {"distances"}),
        (
            PAIRS,
            {
                "alike": np.zeros(3, np.float32),
                "unlike": np.zeros(1, np.float32),
                "embeddings": VECTORS,
                "labels": RANDOM.integers(0, 3, 300),
            },
            {"distances", "embeddings"},
        ),
        (GAME, {"originals": IMAGES, "samples": IMAGES}, {"samples"}),
        (GAME, {"originals": COLOURED, "samples": COLOURED}, {"samples"}),
        (GAME, {"originals": VECTORS, "samples": VECTORS + 1}, {"samples"}),
        (GAME, {"originals": VECTORS[:, :2], "samples": VECTORS[:, :2] + 1}, {"samples"}),
        (
            FEATURES,
            {"image": IMAGES[:4], "target": IMAGES[4:8], "answer": IMAGES[8:12]},
            {"images", "layer_weights"},
        ),
        (
            CODES,
            {"originals": IMAGES[:8], "again": IMAGES[8:16], "samples": IMAGES},
            {"samples", "reconstructions"},
        ),
        (
            CODES,
            {"originals": VECTORS[:8], "again": VECTORS[8:16], "samples": VECTORS},
            {"samples", "reconstructions"},
        ),
    ],
)
def test_every_picture_is_wide_and_shows_something(
    spec: dict[str, Any], shown: dict[str, Any], pictures: set[str], tmp_path: Path
) -> None:
    paid = {"train/critic_loss": 1.0, "train/generator_loss": 2.0}
    filled = fill(from_dict(spec))
    if filled.loss.HasField("perceptual"):
        paid |= {"weights/relu1": 1.0, "weights/relu2": 100.0}
    points = [(step, step, {**paid, "train/loss": 3.0}) for step in range(1, 40, 3)]
    with SpoolWriter(tmp_path, job_id="abc", attempt=1) as writer:
        writer.begin(worker="w", spec=to_dict(filled))
        writer.data(name="x", digest="d", class_names=[f"name {i}" for i in range(10)])
        writer.points(points)
        tensors = {name: torch.from_numpy(array.copy()) for name, array in shown.items()}
        writer.tensors(spool.PREDICTIONS, tensors)
    attempt = SpooledAttempt(tmp_path / "abc", 1)
    list(attempt.unsent(0))
    (tmp_path / "plots").mkdir()
    draw_all(attempt, filled, tmp_path / "plots")
    drawn = {path.stem: imread(path) for path in (tmp_path / "plots").iterdir()}
    assert set(drawn) == {*pictures, "loss_curve"}
    for picture in drawn.values():
        height, width, _ = picture.shape
        assert width == 800
        assert 400 <= height <= 1200
        colours = (picture[..., :3] * 255).astype(int) @ [65536, 256, 1]
        assert len(np.unique(colours)) > 20


def test_principal_directions_are_those_of_the_largest_variance() -> None:
    plane = RANDOM.normal(size=(200, 2)) * [3.0, 1.0]
    turn = np.linalg.qr(RANDOM.normal(size=(6, 6)))[0][:2]
    places, share = principal(plane @ turn + 7)
    assert share.sum() == pytest.approx(1)
    assert share[0] == pytest.approx(0.9, abs=0.03)
    centred = plane - plane.mean(axis=0)
    assert np.linalg.norm(places, axis=1) == pytest.approx(np.linalg.norm(centred, axis=1))
