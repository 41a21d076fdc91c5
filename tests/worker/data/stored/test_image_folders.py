"""Folders of images with masks or boxes: from the files to a trained job."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.server.ingest.parts import read, tar
from tests.worker.data.stored.storing import job_on
from tests.worker.training.jobs import run
from torch import nn

from talweg.spec import arrays_of, check, goal_of, metrics_of, primary_metric
from talweg.v1 import options_pb2
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import StoredDataset
from talweg.worker.data import load
from talweg.worker.tasks import make
from talweg.worker.tasks.common.plots.canvas import PlotData
from talweg.worker.tasks.metric_learning.plots import embeddings as draw
from talweg.worker.tasks.segmentation.measures import measured

SIDE = 16
COUNT = 24
UNET = {"unet": {"channels": [4, 6]}}
FIELDS: dict[str, Any] = {
    "training": {"epochs": 40, "batch_size": 6},
    "optimizer": {"adam": {"learning_rate": 0.02}},
}


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


Scene = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], tuple[int, ...]]


def scenes() -> list[Scene]:
    """Bright squares of two kinds: image, mask, and box with its class."""
    rng = np.random.default_rng(0)
    made: list[Scene] = []
    for index in range(COUNT):
        left, top = (int(each) for each in rng.integers(0, SIDE - 6, 2))
        kind = 1 + index % 2
        pixels = rng.integers(0, 30, (SIDE, SIDE), np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        area = slice(top, top + 6), slice(left, left + 6)
        pixels[area], mask[area] = 100 * kind, kind
        made.append((pixels, mask, (left, top, 6, 6, kind)))
    return made


def stored(store: Path, folder: Path, files: dict[str, bytes]) -> StoredDataset:
    """Read a folder as the server does, and put it where workers look."""
    result = read(folder, tar(files), "set.tar")
    shutil.copytree(result.folder, store / "datasets" / result.info.digest)
    return result.info


def with_masks(store: Path, folder: Path, *, border: int | None = None) -> StoredDataset:
    files = {"classes.txt": b"ground\ncat\ndog\n"}
    for index, (pixels, mask, _) in enumerate(scenes()):
        if border is not None:
            mask[:3] = border
        files[f"images/{index:02}.png"], files[f"masks/{index:02}.png"] = png(pixels), png(mask)
    return stored(store, folder, files)


def with_boxes(store: Path, folder: Path, form: str) -> StoredDataset:
    files: dict[str, bytes] = {}
    images, annotations = [], []
    for index, (pixels, _, (x, y, w, h, kind)) in enumerate(scenes()):
        files[f"images/{index:02}.png"] = png(pixels)
        images.append({"id": index, "file_name": f"{index:02}.png"})
        annotations.append({"image_id": index, "category_id": kind, "bbox": [x, y, w, h]})
        numbers = (x + w / 2) / SIDE, (y + h / 2) / SIDE, w / SIDE, h / SIDE
        files[f"labels/{index:02}.txt"] = f"{kind - 1} {' '.join(map(str, numbers))}\n".encode()
    if form == "yolo":
        return stored(store, folder, {**files, "classes.txt": b"cat\ndog\n"})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    pictures = {name: each for name, each in files.items() if name.startswith("images")}
    text = json.dumps(content).encode()
    return stored(store, folder, {**pictures, "annotations.json": text})


def train(spec: JobSpec, metric: str, above: float) -> None:
    """Train a job that must learn something."""
    assert not check(spec)[0]
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    values = [values[metric] for _, values in report.points if metric in values]
    assert values, sorted({name for _, values in report.points for name in values})
    assert values[-1] > above, values


def test_images_without_labels_train_a_self_supervised_job(store: Path, tmp_path: Path) -> None:
    """The embeddings of two kinds of squares come apart, and nobody said which are which."""
    files = {f"{index:02}.png": png(pixels) for index, (pixels, *_) in enumerate(scenes())}
    info = stored(store, tmp_path / "files", files)
    assert [column.name for column in info.columns] == ["image"]
    trunk = {"convnet": {"channels": [8]}}
    spec = job_on(
        info, {"self_supervised": {"views": {"shift": 2, "noise": 0.1}}}, {}, loss="nt_xent",
        model={"embedder": {"trunk": trunk, "size": 4}},
        training={"epochs": 40, "batch_size": 12, "early_stopping": {"metric": "val/loss"}},
    )  # fmt: skip
    assert arrays_of(spec) == ("x",)
    assert [metric.name for metric in metrics_of(spec)] == ["loss"]
    assert primary_metric(spec) == "test/loss"
    assert goal_of(spec, "test/loss") == options_pb2.MINIMIZE
    violations, warnings = check(spec)
    assert not violations
    assert not warnings
    bundle = load(spec)
    assert bundle.train.arrays.keys() == {"x"}
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    losses = [values["val/loss"] for _, values in report.points if "val/loss" in values]
    assert losses[-1] < losses[0]
    evaluated = {name for _, values in report.points for name in values}
    assert "test/loss" in evaluated
    assert not {name for name in evaluated if "probe" in name}
    assert result.model is not None
    with torch.no_grad():
        embeddings = nn.functional.normalize(result.model.eval()(bundle.train.x))
    kinds = torch.from_numpy(bundle.train_rows % 2)
    alike = (embeddings @ embeddings.T)[kinds[:, None] == kinds].mean()
    unlike = (embeddings @ embeddings.T)[kinds[:, None] != kinds].mean()
    assert alike > unlike
    arrays = {"embeddings": embeddings.numpy()}
    draw(PlotData(arrays, (), (), spec, lambda: (), tmp_path))
    assert (tmp_path / "embeddings.png").stat().st_size > 1000


def test_masks_train_a_segmentation(store: Path, tmp_path: Path) -> None:
    info = with_masks(store, tmp_path / "files")
    spec = job_on(info, "segmentation", {}, model=UNET, loss="cross_entropy", **FIELDS)
    bundle = load(spec)
    assert bundle.class_names == ("ground", "cat", "dog")
    assert bundle.train.arrays["mask"].shape[1:] == (SIDE, SIDE)
    train(spec, "test/mean_iou", 0.4)


@pytest.mark.parametrize(
    ("target", "loss"), [("classes", "cross_entropy"), ("classes", "dice"), ("foreground", "dice")]
)
def test_pixels_without_a_class_count_for_nothing(
    target: str, loss: str, store: Path, tmp_path: Path
) -> None:
    info = with_masks(store, tmp_path / "files", border=255)
    task = {"segmentation": {"target": target}}
    spec = job_on(info, task, {}, model=UNET, loss=loss, **FIELDS)
    assert not check(spec)[0]
    leaf = getattr(spec.loss, loss)
    assert leaf.ignore_index == 255
    bundle = load(spec)
    runner = make(spec, bundle)
    counts = runner.class_counts(bundle)
    assert counts is not None
    per_class = (*counts.seen, *counts.unseen)
    num_pixels = len(bundle.train) * SIDE * (SIDE - 3)
    assert sum(per_class) == num_pixels
    assert any("cover" in each.how for each in measured(bundle, spec))
    # Whatever the outputs are at these pixels, the loss is the same.
    arrays = runner.arrays(bundle.train)
    outputs = torch.randn(len(bundle.train), runner.num_outputs, SIDE, SIDE)
    other = outputs.clone()
    other[:, :, :3] += 5 * torch.randn_like(other[:, :, :3])
    inputs = {"target": arrays["target"]}
    first, second = (runner.criterion({"pred": pred, **inputs}) for pred in (outputs, other))
    assert first == second
    train(spec, "test/mean_iou", 0.4)


@pytest.mark.parametrize(
    ("target", "loss", "path"),
    [
        ("foreground", "bce_with_logits", "loss"),
        ("classes", {"cross_entropy": {"ignore_index": 0}}, "loss.cross_entropy.ignore_index"),
    ],
)
def test_losses_that_do_not_leave_pixels_out_are_refused(
    target: str, loss: Any, path: str, store: Path, tmp_path: Path
) -> None:
    info = with_masks(store, tmp_path / "files", border=255)
    spec = job_on(info, {"segmentation": {"target": target}}, {}, model=UNET, loss=loss)
    (violation,) = check(spec)[0]
    assert violation.field == path
    assert "255" in str(violation)


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_boxes_train_a_detection(form: str, store: Path, tmp_path: Path) -> None:
    info = with_boxes(store, tmp_path / "files", form)
    spec = job_on(
        info,
        "detection",
        {},
        model={"detector": {"channels": [4, 8], "stride": 4}},
        loss="detection",
        **FIELDS,
    )
    assert not check(spec)[0]
    bundle = load(spec)
    assert bundle.class_names == ("background", "cat", "dog")
    row = int(bundle.train_rows[0])
    x, y, w, h, kind = scenes()[row][2]
    assert bundle.train.arrays["boxes"][0].tolist() == [[x, y, x + w, y + h]]
    assert bundle.train.arrays["classes"][0].tolist() == [kind]
    train(spec, "test/map_50", 0.05)


def test_both_forms_are_stored_alike(store: Path, tmp_path: Path) -> None:
    read_forms = [
        with_boxes(tmp_path / f"blobs_of_{form}", tmp_path / form, form)
        for form in ("coco", "yolo")
    ]
    assert read_forms[0].data_sha256 == read_forms[1].data_sha256
    assert read_forms[0].columns == read_forms[1].columns
