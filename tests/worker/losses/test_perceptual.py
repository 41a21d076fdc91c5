"""The perceptual loss: VGG16 by weights that the operator names, and models that were trained."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.worker.losses.cases import slope
from tests.worker.losses.named_perceptual import BIAS, KERNELS, LAYERS, NAME, write_model
from torch import Tensor
from torch.nn import functional as F

from talweg.blobs import Blobs, project_blobs
from talweg.spec import SpecError, check, fill, fill_message, from_dict
from talweg.v1.losses_generative_pb2 import FeatureNetwork as FeatureNetworkSpec
from talweg.v1.losses_generative_pb2 import TrainedModel
from talweg.v1.losses_pb2 import Loss
from talweg.worker import training
from talweg.worker.artifacts.predictor import describe
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import Perceptual, build, evaluate, frozen_digests
from talweg.worker.losses.features import VGG16_LAYERS, FeatureNetwork, Vgg16, load
from talweg.worker.storage import trained_models
from talweg.worker.storage.job_store import JobStore
from talweg.worker.training import NeverStop, RecordingReporter

FLOAT64 = torch.float64
GENERATOR = torch.Generator().manual_seed(0)
# torchvision's vgg16: channels in and out of the convolutions, by their index among the features.
CONVOLUTIONS = {
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    17: (256, 512),
    19: (512, 512),
    21: (512, 512),
    24: (512, 512),
    26: (512, 512),
    28: (512, 512),
}
POOLS = (4, 9, 16, 23, 30)
TAKEN = {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22, "relu5_3": 29}
IMAGES = {
    "pred": torch.rand(2, 3, 19, 16, generator=GENERATOR),
    "target": torch.rand(2, 3, 19, 16, generator=GENERATOR),
}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random ones, with signals that neither grow nor fade."""
    found = {"classifier.0.bias": torch.zeros(7)}
    for index, (before, after) in CONVOLUTIONS.items():
        scale = (2 / (9 * before)) ** 0.5
        noise = torch.randn(after, before, 3, 3, generator=GENERATOR)
        found[f"features.{index}.weight"] = noise * scale
        found[f"features.{index}.bias"] = torch.rand(after, generator=GENERATOR) * 0.1
    return found


@pytest.fixture(scope="module")
def file(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    save_file(weights, path)
    return path


@pytest.fixture
def vgg(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TALWEG_VGG_WEIGHTS", str(file))
    return file


def features(weights: dict[str, Tensor], images: Tensor) -> dict[int, Tensor]:
    """Return the outputs of VGG16's features by index, written out."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)
    sd = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)
    x = (images.double() - mean[:, None, None]) / sd[:, None, None]
    found = {}
    for index in range(30):
        if index in CONVOLUTIONS:
            kernel, bias = (weights[f"features.{index}.{name}"] for name in ("weight", "bias"))
            x = F.conv2d(x, kernel.double(), bias.double(), padding=1)
        else:
            x = F.max_pool2d(x, 2) if index in POOLS else F.relu(x)
        found[index] = x
    return found


def test_vgg16_has_torchvisions_names_and_shapes() -> None:
    with torch.device("meta"):
        network = Vgg16()
    expected: dict[str, tuple[int, ...]] = {}
    for index, (before, after) in CONVOLUTIONS.items():
        expected[f"features.{index}.weight"] = (after, before, 3, 3)
        expected[f"features.{index}.bias"] = (after,)
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == expected
    assert {name: VGG16_LAYERS[name] for name in TAKEN} == TAKEN
    assert len(VGG16_LAYERS) == len(CONVOLUTIONS)


def test_vgg16_is_compared_at_its_last_relu_before_each_pool(
    vgg: Path, weights: dict[str, Tensor]
) -> None:
    pred = IMAGES["pred"].double().requires_grad_()
    target = IMAGES["target"].double().requires_grad_()

    loss = evaluate("perceptual", {"pred": pred, "target": target})

    found, wanted = features(weights, pred), features(weights, target.detach())
    expected = torch.stack([F.mse_loss(found[i], wanted[i]) for i in TAKEN.values()]).sum()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    by_pred, by_target = torch.autograd.grad(loss, [pred, target], allow_unused=True)
    torch.testing.assert_close(by_pred, slope(expected, pred), rtol=1e-9, atol=1e-12)
    assert by_target is None


def test_layers_and_weights_are_those_that_are_named(
    vgg: Path, weights: dict[str, Tensor]
) -> None:
    found, wanted = (features(weights, IMAGES[name]) for name in ("pred", "target"))
    spec = {"layers": ["relu3_1", "relu1_1"], "layer_weights": [0.5, 2]}

    loss = evaluate({"perceptual": {**spec, "reduction": "none"}}, IMAGES)

    parts = [(found[i] - wanted[i]).square().mean((1, 2, 3)) for i in (11, 1)]
    torch.testing.assert_close(loss.double(), 0.5 * parts[0] + 2 * parts[1], rtol=1e-5, atol=0)


def test_learned_weights_are_inputs_and_get_each_layers_mse(vgg: Path) -> None:
    layers = ["relu1_2", "relu2_2"]
    learned = torch.tensor([0.5, 2.0], requires_grad=True)
    loss = evaluate({"perceptual": {"layers": layers}}, {**IMAGES, "layer_weights": learned})
    alone = [evaluate({"perceptual": {"layers": [one]}}, IMAGES).item() for one in layers]
    assert slope(loss, learned).tolist() == pytest.approx(alone)


def test_all_layers_come_of_one_pass_and_none_is_computed_behind_the_last(vgg: Path) -> None:
    module = build(from_dict({"perceptual": {"layers": ["relu2_2", "relu1_1"]}}, Loss))
    assert isinstance(module, Perceptual)
    network: Any = module.network.network
    calls = []
    for layer in network.features:
        layer.register_forward_hook(lambda layer, *_: calls.append(layer))
    module(IMAGES)
    assert len(network.features) == 9
    assert calls == list(network.features), "once for pred and target together"


def test_the_network_is_frozen_and_stays_in_evaluation_mode(vgg: Path) -> None:
    module = build(from_dict({"perceptual": {"layers": ["relu1_1"]}}, Loss)).train()
    assert isinstance(module, Perceptual)
    assert not any(part.training for part in module.network.modules())
    assert not any(parameter.requires_grad for parameter in module.network.parameters())
    # Nobody who asks the loss for what it learns or keeps is given any of it.
    assert not [*module.parameters(), *module.buffers(), *module.state_dict()]
    assert module.double().network.network.get_submodule("features.0").weight.dtype is FLOAT64


def test_small_images_are_refused_where_a_pool_would_leave_nothing(vgg: Path) -> None:
    small = {name: image[:, :, :15, :15] for name, image in IMAGES.items()}
    with pytest.raises(ValueError, match=r"3 channels and at least 16 by 16 pixels .*\(3, 15, 15"):
        evaluate("perceptual", small)
    assert evaluate({"perceptual": {"layers": ["relu4_3"]}}, small).item() > 0
    pixel = {name: image[:, :, :1, :1] for name, image in IMAGES.items()}
    assert evaluate({"perceptual": {"layers": ["relu1_2"]}}, pixel).item() > 0
    with pytest.raises(ValueError, match=r"of 3 channels .*, but got \(2, 19, 16\)"):
        evaluate("perceptual", {name: image[:, :2] for name, image in IMAGES.items()})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"layers": ["relu1_3"]}, "layers must be among relu1_1, .*, relu5_3, but got relu1_3"),
        ({"layers": ["relu1_1"] * 2}, "named once each, but got relu1_1 again"),
        ({"layer_weights": [1, 2]}, "layer_weights must have one value per layer, 5, but got 2"),
        ({"layer_weights": [-1]}, r"layer_weights\[0\]: found -1; allowed a number >= 0"),
        ({"network": {"trained": "../small-1"}}, "network.trained.model: found .*letters, digits"),
        ({"network": {"trained": "/etc"}}, "network.trained.model: found .*letters, digits"),
        ({"network": {"trained": "a/b"}}, "network.trained.model: found .*letters, digits"),
        ({"network": {"trained": {}}}, "network.trained.model: found nothing"),
        ({"network": {"trained": "none"}}, "none could not be built: .*model.json"),
        (
            {"network": {"trained": NAME}},
            "layers must name modules of trained small-1, 0_conv2d, 1_relu",
        ),
        (
            {"network": {"trained": NAME}, "layers": ["relu"]},
            "layers must be among 0_conv2d, 1_relu, 2_flatten, 3_linear, but got relu",
        ),
    ],
    ids=str,
)
def test_what_is_not_there_is_refused(vgg: Path, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate({"perceptual": spec}, IMAGES)


def test_without_the_operators_settings_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TALWEG_VGG_WEIGHTS", raising=False)
    with pytest.raises(ValueError, match="TALWEG_VGG_WEIGHTS must name .*, but is not set"):
        evaluate("perceptual", IMAGES)
    monkeypatch.delenv("TALWEG_MODELS_DIR")
    with pytest.raises(ValueError, match="TALWEG_MODELS_DIR names .*, but that is not set"):
        evaluate({"perceptual": {"network": {"trained": NAME}}}, IMAGES)


def test_files_with_other_weights_are_refused(
    tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    monkeypatch.setenv("TALWEG_VGG_WEIGHTS", str(path))
    spec = {"perceptual": {"layers": ["relu1_1"]}}
    with pytest.raises(
        ValueError, match="TALWEG_VGG_WEIGHTS must .* could not be read: .*No such"
    ):
        evaluate(spec, IMAGES)
    path.write_bytes(b"\x80\x04K\x00.")
    with pytest.raises(ValueError, match="TALWEG_VGG_WEIGHTS must name .* could not be read: "):
        evaluate(spec, IMAGES)
    first = {name: weights[name] for name in ("features.0.weight", "features.0.bias")}
    save_file({"features.0.weight": first["features.0.weight"]}, path)
    with pytest.raises(ValueError, match=r"VGG16, but features.0.bias is not in it"):
        evaluate(spec, IMAGES)
    save_file({**first, "features.0.bias": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"features.0.bias has shape \(64,\), but it has \(3,\)"):
        evaluate(spec, IMAGES)
    save_file({name: tensor.half() for name, tensor in first.items()}, path)
    assert evaluate(spec, IMAGES).dtype is torch.float32


def test_a_model_of_vectors_and_one_of_another_format_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALWEG_MODELS_DIR", str(tmp_path))
    write_model(tmp_path / "later", format=3)
    write_model(tmp_path / "other", num_outputs=3)
    write_model(tmp_path / "vectors", layers=["linear"], input_shape=[8])
    for name, message in (
        ("later", "later could not be built: model.json: format must be 1 or 2, but got 3"),
        ("other", "other could not be built: .*size mismatch"),
        ("vectors", r"a model of images \(C, H, W\), but trained vectors takes \(8,\)"),
    ):
        spec = {"network": {"trained": name}, "layers": ["1_relu"]}
        with pytest.raises(ValueError, match=message):
            evaluate({"perceptual": spec}, IMAGES)


def test_a_model_that_a_job_trained_can_be_compared_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers: list[Any] = [
        {"conv2d": {"out_channels": 4}},
        "batch_norm",
        "relu",
        "flatten",
        "linear",
    ]
    job: dict[str, Any] = {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"sequential": {"layers": layers}},
        "loss": "cross_entropy",
        "training": {"steps": 3},
    }
    spec = fill(from_dict(job))
    report = RecordingReporter()
    result = training.run(spec, report=report, control=NeverStop(), device="cpu")
    assert result.model is not None
    assert report.bundle is not None
    bundle = report.bundle
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "model.json").write_text(json.dumps(describe(spec, bundle)))
    save_file(result.model.state_dict(), tmp_path / "job" / "weights.safetensors")
    monkeypatch.setenv("TALWEG_MODELS_DIR", str(tmp_path))
    scaler = bundle.inputs.scaler
    assert scaler is not None
    # Training had its images standardised; the loss takes them as they were.
    x = bundle.train.x[:6].double()
    raw = (x * scaler.sd.item() + scaler.mean.item()).float()

    perceptual = {"network": {"trained": "job"}, "layers": ["2_relu"], "reduction": "none"}
    loss = evaluate({"perceptual": perceptual}, {"pred": raw[:3], "target": raw[3:]})

    found = result.model[:3](x.float())  # type: ignore[index]
    expected = (found[:3] - found[3:]).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


def test_other_tasks_do_not_train_by_it() -> None:
    job = {
        "task": "regression",
        "dataset": "diabetes",
        "model": "mlp",
        "loss": {"perceptual": {"network": {"trained": NAME}, "layers": list(LAYERS)}},
    }
    violations, _ = check(fill(from_dict(job)))
    assert "perceptual suits tasks image_translation" in str(SpecError(violations))


def test_vgg16_is_the_network_where_none_is_named() -> None:
    filled = fill_message(from_dict("perceptual", Loss))
    assert filled.perceptual.network.WhichOneof("kind") == "vgg16"


TINY = {"network": {"trained": NAME}}


def test_a_network_may_take_other_sides_where_its_layers_do() -> None:
    generator = torch.Generator().manual_seed(1)
    wide = {name: torch.rand(2, 1, 7, 5, generator=generator) for name in ("pred", "target")}
    found = evaluate({"perceptual": {**TINY, "layers": ["1_relu"]}}, wide)
    # Each of the windows of 2×2 pixels is what it is in an image of any size.
    kernels = torch.tensor(KERNELS)
    bias = torch.tensor(BIAS)
    one, other = (F.relu(F.conv2d((x - 0.5) / 0.25, kernels, bias)) for x in wide.values())
    torch.testing.assert_close(found, F.mse_loss(one, other))
    short = {name: image[:, :, :1] for name, image in wide.items()}
    with pytest.raises(ValueError, match=r"1 channel and at least 2 by 2 pixels .* \(1, 1, 5\)"):
        evaluate({"perceptual": {**TINY, "layers": ["1_relu"]}}, short)
    with pytest.raises(ValueError, match=r"the model's shape \(1, 3, 3\), but got \(1, 7, 5\)"):
        evaluate({"perceptual": {**TINY, "layers": ["3_linear"]}}, wide)
    three = {name: image.expand(-1, 3, -1, -1) for name, image in wide.items()}
    with pytest.raises(ValueError, match=r"1 channel and .* but got \(3, 7, 5\)"):
        evaluate({"perceptual": {**TINY, "layers": ["1_relu"]}}, three)


def test_a_network_without_weights_gives_features_too() -> None:
    network = FeatureNetwork(
        torch.nn.Sequential(torch.nn.AvgPool2d(2), torch.nn.Flatten()),
        ["0"],
        mean=torch.zeros(1, 1, 1, 1),
        sd=torch.ones(1, 1, 1, 1),
        shape=(1, 2, 2),
    )
    (feature,) = network(torch.arange(8.0).reshape(2, 1, 2, 2).double())
    assert feature.flatten().tolist() == [1.5, 5.5]
    assert feature.dtype is FLOAT64


def test_learned_weights_have_their_least_where_no_layer_counts_more_than_another() -> None:
    pair = {name: torch.rand(4, 1, 3, 3, generator=GENERATOR) for name in ("pred", "target")}
    layers = ["0_conv2d", "3_linear"]
    errors = [float(evaluate({"perceptual": {**TINY, "layers": [x]}}, pair)) for x in layers]
    weights = torch.tensor([1 / error for error in errors], requires_grad=True)
    spec = {"perceptual": {**TINY, "layers": layers, "learned": True}}

    loss = evaluate(spec, {**pair, "layer_weights": weights})

    assert loss.item() == pytest.approx(2 + math.log(errors[0]) + math.log(errors[1]), rel=1e-5)
    assert slope(loss, weights).tolist() == pytest.approx([0, 0], abs=1e-5)
    # Those of the message are where learning begins, and may be replaced.
    begun = {"perceptual": {**spec["perceptual"], "layer_weights": [2, 0.5]}}
    assert evaluate(begun, pair).item() == pytest.approx(2 * errors[0] + 0.5 * errors[1], rel=1e-5)
    assert evaluate(begun, {**pair, "layer_weights": weights}).item() == pytest.approx(loss.item())
    with pytest.raises(ValueError, match="layer_weights must be above 0 if they are learned"):
        evaluate(spec, {**pair, "layer_weights": torch.tensor([1.0, 0.0])})


def test_a_jobs_model_is_read_from_the_blob_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / NAME
    write_model(folder)
    weights = load_file(folder / "weights.safetensors")
    description = json.loads((folder / "model.json").read_text())
    monkeypatch.setenv("TALWEG_BLOBS", str(tmp_path / "blobs"))
    blobs = Blobs(str(tmp_path / "blobs"))
    digest = trained_models.write(blobs, "jobs/small", weights, description)
    pair = {name: torch.rand(2, 1, 3, 3, generator=GENERATOR) for name in ("pred", "target")}

    def by(network: Any, layers: tuple[str, ...] = LAYERS) -> Tensor:
        return evaluate({"perceptual": {"network": network, "layers": list(layers)}}, pair)

    expected = by({"trained": NAME})
    assert by({"job": "jobs/small"}) == expected
    assert by({"job": {"job": "jobs/small", "sha256": digest}}) == expected
    part = project_blobs(str(tmp_path / "blobs"), "vision")
    trained_models.write(part, "jobs/theirs", weights, description)
    with JobStore("vision").used():
        assert by({"job": "jobs/theirs"}) == expected
    with pytest.raises(UserSpecError, match="jobs/theirs has kept 0 models"):
        by({"job": "jobs/theirs"})
    path = tmp_path / "blobs/jobs/small/model" / f"{digest}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    for network, message in (
        ({"job": "jobs/small"}, f"model of jobs/small must have sha256 {digest}, but has"),
        ({"job": "jobs/other"}, "jobs/other has kept 0 models"),
        ({"job": {"job": "jobs/small", "sha256": "0" * 64}}, "no model with sha256 000"),
    ):
        with pytest.raises(UserSpecError, match=message):
            by(network)
    path.write_bytes(whole)
    with pytest.raises(UserSpecError, match="among 0_conv2d, 1_relu, 2_flatten, 3_linear, but"):
        by({"job": "jobs/small"}, ("relu1",))
    trained_models.write(blobs, "jobs/small", weights, {**description, "num_outputs": 3})
    with pytest.raises(UserSpecError, match="has kept 2 models and sha256 names none"):
        by({"job": "jobs/small"})
    assert by({"job": {"job": "jobs/small", "sha256": digest}}) == expected


def test_what_is_frozen_is_known_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digests() -> dict[str, str]:
        terms = [{"loss": "mae"}, {"loss": {"perceptual": {**TINY, "layers": list(LAYERS)}}}]
        return frozen_digests(build(from_dict({"sum": {"terms": terms}}, Loss)))

    write_model(tmp_path / NAME)
    before = digests()
    assert list(before) == ["loss.sum.terms.1.loss.perceptual.network.tensors_sha256"]
    monkeypatch.setenv("TALWEG_MODELS_DIR", str(tmp_path))
    assert digests() == before
    model = tmp_path / NAME / "model.json"
    model.write_text(model.read_text().replace("0.25", "0.5"))
    assert digests() != before


@pytest.mark.parametrize("name", ["../secret", "/secret", "..", "a/b", "a\n", "a\\b", ""])
def test_a_trained_model_is_a_folder_of_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TALWEG_MODELS_DIR", str(tmp_path))
    # Not by way of a spec, whose check refuses it before.
    network = FeatureNetworkSpec(trained=TrainedModel(model=name))
    with pytest.raises(UserSpecError, match="network trained must name a folder by letters"):
        load(network, ["0"])
