"""Jobs with published architectures: every task, starting weights, frozen parts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.models.published import TINY, every_architecture
from tests.worker.models.test_pretrained import CLASSES, published
from tests.worker.training.jobs import job, run
from tests.worker.training.stored_weights import uploaded
from tests.worker.training.test_fine_tuning import ran, refused, state, uses

from talweg.v1.jobs_pb2 import Job, Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.models.architectures.pretrained import published_names

SHORT = {"steps": 2, "batch_size": 64}


def digits(name: str, **fields: Any) -> JobSpec:
    return job(
        task="multiclass",
        dataset="digits",
        loss="cross_entropy",
        **{"model": {"pretrained": TINY[name]}, "training": SHORT, **fields},
    )


@pytest.mark.parametrize(
    ("task", "loss"), [("metric_learning", "triplet"), ("self_supervised", "vicreg")]
)
def test_it_is_a_backbone_of_embeddings(task: str, loss: str) -> None:
    model = {"embedder": {"trunk": {"pretrained": TINY["resnet"]}, "size": 6}}
    spec = job(task=task, dataset="digits", loss=loss, model=model, training=SHORT)
    result, _ = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    assert result.model is not None
    vectors = result.model(torch.randn(3, 1, 8, 8))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


@every_architecture
def test_a_published_file_is_taken_but_for_its_classes(name: str, tmp_path: Path) -> None:
    _, tensors = published(name, tmp_path)
    weights = uploaded(tensors, "published")
    still = {"sgd": {"learning_rate": 1e-30}}
    model, report = ran(
        digits(
            name, weights=weights, freeze=[name], optimizer=still, learning_rates={"class*": 10}
        )
    )
    found = uses(report)
    assert found.pop("classifier.weight") == found.pop("classifier.bias") == "OTHER_SHAPE"
    assert set(found.values()) == {"TAKEN"}
    # The last layer is expected to be new: no reason to warn.
    assert Warning.WEIGHTS_NOT_TAKEN not in {each.kind for each in report.warnings}
    assert any(
        f"classifier.weight (10, 8) (({CLASSES}, 8) in the file)" in line for line in report.lines
    )
    rename = published_names(digits(name).model.pretrained)
    trained = state(model)
    for key, tensor in tensors.items():
        if not key.startswith("classifier"):
            assert torch.equal(trained[rename(key)], tensor), key


def test_a_backbone_alone_is_taken_and_what_it_has_besides_is_listed(tmp_path: Path) -> None:
    _, tensors = published("vit", tmp_path)
    backbone = {
        key.removeprefix("vit."): tensor for key, tensor in tensors.items() if "vit" in key
    }
    backbone["pooler.dense.weight"] = torch.zeros(8, 8)
    _, report = ran(digits("vit", weights=uploaded(backbone, "backbone")))
    found = uses(report)
    assert found["pooler.dense.weight"] == "NOT_IN_MODEL"
    assert found["classifier.weight"] == "NOT_IN_FILE"
    assert found["vit.layers.1.attention.o_proj.weight"] == "TAKEN"


def test_weights_of_other_sides_need_the_images_scaled(tmp_path: Path) -> None:
    _, tensors = published("vit", tmp_path)
    larger = {**tensors, "vit.embeddings.position_embeddings": torch.randn(1, 17, 8)}
    weights = uploaded(larger, "larger")
    _, report = ran(digits("vit", weights=weights))
    assert Warning.WEIGHTS_NOT_TAKEN in {each.kind for each in report.warnings}
    model = {"pretrained": {**TINY["vit"], "image_size": 16}}
    _, report = ran(digits("vit", weights=weights, model=model))
    assert uses(report)["vit.embeddings.position_embeddings"] == "TAKEN"


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    _, tensors = published("convnextv2", tmp_path)
    message = refused(digits("vit", weights=uploaded(tensors, "other")))
    assert "no tensor of datasets/other" in message or "has the shape" in message
