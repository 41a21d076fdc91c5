"""Rules that hold between fields."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from tests.proto.rule_cases import KINDS_REFUSED, embeddings, game, generated, quantiles, total
from tests.proto.specs import base, checked, classes, layers

from talweg.spec import check, from_dict
from talweg.v1 import options_pb2
from talweg.v1.options_pb2 import ModelFacts
from talweg.v1.spec_pb2 import JobSpec

IN_ORDER: dict[str, dict[str, Any]] = {
    "regression": base(),
    "multiclass": classes(),
    "binary": base(task="binary", dataset="breast_cancer", loss="bce_with_logits"),
    "two classes": classes(dataset="breast_cancer"),
    "multilabel": base(
        task="multilabel", dataset="synthetic_multilabel", loss="asymmetric_multilabel"
    ),
    "ordinal": base(task="ordinal", loss="coral"),
    "metric learning": embeddings(),
    "metric learning by vectors of the classes": embeddings(
        loss={"arcface": {"embedding_size": 16}},
        model={"embedder": {"trunk": "convnet", "size": 16}},
        training={"early_stopping": {"metric": "val/recall_at_1"}},
    ),
    "two views": embeddings(task="self_supervised", loss="vicreg"),
    "a game": game("hinge"),
    "a game with a penalty": game("wgan", {"gradient_penalty": 10}),
    "a game with clipped weights": game("wgan", {"weight_clip": 0.01}),
    "codes": classes(task="vae", model="autoencoder", loss="vae"),
    "turned classes": embeddings(task={"metric_learning": {"turned_classes": True}}),
    "ordinal of generated numbers": base(
        task={"ordinal": {"ranks": 3}}, dataset="synthetic_regression",
        loss={"sum": {"terms": [{"loss": "corn"}, {"loss": "corn"}]}},
    ),
    "convnet": classes(model="convnet"),
    "batch norm over the pixels of one": classes(model="convnet", training={"batch_size": 1}),
    "resnet": classes(model={"resnet": {"norm": "group", "width": 12, "groups": 4}}),
    "a resnet as a trunk": embeddings(model={"embedder": {"trunk": "resnet"}}),
    "a published vit": classes(model={"pretrained": {"architecture": "vit", "patch_size": 4}}),
    "a published vit of other sides": classes(
        model={"pretrained": {"architecture": "vit", "size": "huge", "image_size": 224}}
    ),
    "a published resnet": classes(model="pretrained", training={"batch_size": 1}),
    "a published vit in two processes": classes(
        model={"pretrained": {"architecture": "vit", "patch_size": 4}},
        resources={"processes": 2},
    ),
    "a published trunk": embeddings(model={"embedder": {"trunk": {"pretrained": {
        "architecture": "convnextv2", "image_size": 32, "channels": 3,
    }}}}),
    "features as tokens": base(model="transformer"),
    "patches as tokens": classes(model={"transformer": {"patch": 4, "width": 6, "heads": 3}}),
    "counts of patients": base(loss="poisson_nll"),
    **{
        f"rates by {layer}": base(
            loss={"poisson_nll": {"log_input": False}},
            model={"sequential": {"layers": ["linear", layer, "dropout"]}},
        )
        for layer in ("softplus", "relu")
    },
    "codes of numbers": classes(
        task="vae", model="autoencoder", dataset="wine", loss={"vae": {"recon": "mse"}}
    ),
    "codes of digits as numbers": classes(
        task="vae", model="autoencoder", loss={"vae": {"recon": "gaussian"}}
    ),
    "raw targets": base(loss="poisson_nll", preprocessing={"standardise_targets": False}),
    "several targets": base(
        dataset={"synthetic_regression": {"num_targets": 3}},
        loss={"multi_quantile": {"quantiles": [0.1, 0.9]}},
    ),
    "sums of sums": base(
        loss={"sum": {"terms": [{"loss": {"sum": {"terms": [{"loss": "mse"}]}}}]}}
    ),
    "both halves of bce": base(
        task="binary", dataset="breast_cancer",
        loss={"sum": {"terms": [{"loss": "bce"}, {"loss": "bce_with_logits"}]}},
    ),
    "same quantiles twice": base(
        loss={"sum": {"terms": [
            {"loss": {"multi_quantile": {"quantiles": [0.1, 0.9]}}},
            {"loss": {"multi_quantile": {"quantiles": [0.1, 0.9]}}, "weight": 0},
        ]}}
    ),
    "shares below 1": base(split={"train": 0.1, "validation": 0.1, "test": 0.1}),
    "shares that binary fractions miss": base(
        split={"train": 0.7, "validation": 0.2, "test": 0.1}
    ),
    "no test": base(split={"train": 0.8, "validation": 0.2, "test": 0}),
    "only training": base(split={"train": 1, "validation": 0, "test": 0}),
    "a watched metric": base(
        training={"early_stopping": {"metric": "val/rmse"}},
        schedule={"plateau": {"metric": "val/r2"}},
    ),
    "a watched pinball": base(
        loss={"quantile": {"q": 0.9}}, training={"early_stopping": {"metric": "val/pinball"}}
    ),
    "outliers": base(preprocessing={"target_outliers": {}}),
    "weights a class": classes(loss={"cross_entropy": {"weight": [1] * 10}}),
    "alpha a class": classes(loss={"focal": {"alpha": [1] * 10}}),
    "a weight of the positives": base(
        task="binary", dataset="breast_cancer", loss={"bce_with_logits": {"pos_weight": [2]}}
    ),
    "weights by counting": classes(loss={"cross_entropy": {"weight": "balanced"}}),
    "alpha by counting": classes(loss={"focal": {"alpha": {"effective_number": {"beta": 0.9}}}}),
    "a weight of the positives by counting": base(
        task="binary", dataset="breast_cancer",
        loss={"bce_with_logits": {"pos_weight": "balanced"}},
    ),
    "counts a class": classes(loss={"ldam": {"class_counts": range(1, 11), "weight": [1] * 10}}),
    "counts of the training split": classes(loss="logit_adjusted"),
    "an embedding": classes(loss="arcface"),
    "a mean and a variance": base(loss="gaussian_nll"),
    "amounts": base(loss="tweedie"),
    "weights a label": base(
        task="multilabel", dataset="synthetic_multilabel",
        loss={"bce_with_logits": {"weight": [1, 2, 3, 4, 5]}},
    ),
    "shares of classes": classes(
        dataset={"synthetic_classification": {"num_classes": 3, "class_shares": [0.2, 0.3, 0.5]}}
    ),
    "nesterov": base(optimizer={"sgd": {"nesterov": True}}),
    "warm-up": base(schedule={"cosine": {"warmup_steps": 539}}),
    "names of tags": base(tags={"a.b/c-d_E9": "x", "team": ""}),
    "layers": layers(
        {"conv2d": {"out_channels": 8, "padding": 1}}, "batch_norm", "relu", "max_pool2d",
        {"group_norm": {"num_groups": 4}}, "flatten", {"linear": {"out_features": 32}}, "gelu",
        "dropout", "linear",
    ),
    "layers with the right end": layers("flatten", {"linear": {"out_features": 10}}),
    "layers without weights at the end": layers("flatten", {"linear": {"out_features": 3}},
                                                "linear", "dropout"),
    "convolutions alone": layers({"conv2d": {"out_channels": 10}}, "adaptive_avg_pool2d",
                                 "flatten"),
    "batch of 1 without batch norm": base(training={"batch_size": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_ORDER)
def test_in_order(name: str) -> None:
    violations, _ = checked(IN_ORDER[name])
    assert violations == []


REFUSED: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    **KINDS_REFUSED,
    "two meanings of the same answers": (
        base(task="ordinal", loss=total("coral", "corn")), "loss.sum.terms[1].loss",
        "corn in a sum with coral", "over the same outputs", "given rank ≥ k",
    ),
    "too few corners": (
        classes(dataset=generated(num_informative=3, num_classes=9)),
        "dataset.synthetic_classification.num_informative", "3, which allows 8", "at least 4", "",
    ),
    "a class too rare to divide": (
        classes(dataset=generated(num_samples=100, class_shares=[0.98, 0.02])),
        "dataset.synthetic_classification.class_shares", "about 2 samples", "in each split",
        "stratified: false",
    ),
    "more classes than test samples": (
        classes(dataset=generated(num_samples=100, num_classes=30),
                split={"train": 0.5, "validation": 0.2, "test": 0.3}), "split.validation",
        "20 samples for 30 classes", "at least 30 samples", "",
    ),
    "more labels than there are": (
        base(task="multilabel", loss="focal_binary",
             dataset={"synthetic_multilabel": {"mean_labels": 6}}),
        "dataset.synthetic_multilabel.mean_labels", "6", "at most num_classes (5)", "",
    ),
    "data beyond memory": (
        base(dataset={"synthetic_regression": {"num_samples": 1_000_000, "num_features": 1000}}),
        "dataset.synthetic_regression", "1001000000 values", "at most 100000000", "",
    ),
    "shares above 1": (
        base(split={"train": 0.8}), "split", "0.8 + 0.2 + 0.2 = 1.2", "at most 1", "",
    ),
    "an empty part": (
        base(split={"train": 0.9, "validation": 0.002, "test": 0.05}), "split.validation",
        "0.002, which is less than 1 of 442 samples", "at least one sample, or 0", "",
    ),
    "nothing to train on": (
        base(split={"train": 0.001, "validation": 0.2, "test": 0.2}), "split.train",
        "0.001, which is less than 1 of 442 samples", "at least one sample", "",
    ),
    "numbers have no strata": (
        base(split={"stratified": True}), "split.stratified", "true under task regression",
        "task binary or multiclass", "leave it out",
    ),
    "classes are not standardised": (
        classes(preprocessing={"standardise_targets": True}), "preprocessing.standardise_targets",
        "true under task multiclass", "false", "leave it out",
    ),
    "raw targets": (
        base(loss="poisson_nll", preprocessing={"standardise_targets": True}),
        "preprocessing.standardise_targets", "true", "false under poisson_nll", "leave it out",
    ),
    "negative counts": (
        base(loss="poisson_nll", dataset="synthetic_regression"), "dataset",
        "synthetic_regression, which has negative targets", "targets >= 0", "",
    ),
    "outliers among classes": (
        classes(preprocessing={"target_outliers": {}}), "preprocessing.target_outliers",
        "under task multiclass", "task regression", "leave it out",
    ),
    "outliers the wrong way round": (
        base(preprocessing={"target_outliers": {"low_sd": 11}}),
        "preprocessing.target_outliers.low_sd", "11", "at most high_sd (10)", "",
    ),
    "no reduction": (
        base(loss={"mse": {"reduction": "none"}}), "loss.mse.reduction", "none",
        "training minimises", "leave it out for mean",
    ),
    "no reduction in a sum": (
        base(loss=total("mse", {"mae": {"reduction": "none"}})),
        "loss.sum.terms[1].loss.mae.reduction", "none", "to one value", "",
    ),
    "no reduction of labels": (
        base(task="multilabel", dataset="synthetic_multilabel",
             loss={"asymmetric_multilabel": {"reduction": "none"}}),
        "loss.asymmetric_multilabel.reduction", "none", "to one value", "",
    ),
    "falling quantiles": (
        base(loss=quantiles(0.1, 0.9, 0.5)), "loss.multi_quantile.quantiles[2]", "0.5",
        "more than the previous one, 0.9", "must increase",
    ),
    "equal quantiles": (
        base(loss=quantiles(0.5, 0.5)), "loss.multi_quantile.quantiles[1]", "0.5",
        "more than the previous one", "",
    ),
    "other outputs in one sum": (
        base(loss=total("mse", quantiles(0.1, 0.9))), "loss.sum.terms[1].loss",
        "multi_quantile in a sum with mse", "the same outputs", "0.1, 0.9",
    ),
    "other quantiles in one sum": (
        base(loss=total(quantiles(0.1, 0.9), quantiles(0.2, 0.8))), "loss.sum.terms[1].loss",
        "multi_quantile in a sum with multi_quantile", "the same outputs", "0.2, 0.8",
    ),
    "binary reconstruction of real numbers": (
        classes(task="vae", model="autoencoder", dataset="wine", loss={"vae": {"recon": "bce"}}),
        "loss.vae.recon", "bce on wine, whose values are not all in [0, 1]",
        "one of mse, gaussian", "omit it",
    ),
    "binary reconstruction in a sum": (
        classes(
            task="vae", model="autoencoder", dataset="iris",
            loss=total({"vae": {"recon": "mse"}}, {"vae": {"recon": "bce_logits"}}),
        ),
        "loss.sum.terms[1].loss.vae.recon", "bce_logits on iris", "one of mse, gaussian", "",
    ),
    "negative rates": (
        base(loss={"poisson_nll": {"log_input": False}}), "loss.poisson_nll.log_input",
        "false on a model whose outputs may be negative", "last layer is softplus or relu",
        "omit log_input",
    ),
    "negative rates behind a layer": (
        base(
            loss={"poisson_nll": {"log_input": False}},
            model={"sequential": {"layers": ["linear", "tanh", "dropout"]}},
        ),
        "loss.poisson_nll.log_input", "false on a model", "model: sequential", "",
    ),
    "logarithms in one sum": (
        base(loss=total("mse", "poisson_nll")), "loss.sum.terms[1].loss",
        "poisson_nll in a sum with mse", "the same outputs", "log_input: false",
    ),
    "weights of other classes": (
        classes(loss={"cross_entropy": {"weight": [1, 2]}}), "loss.cross_entropy.weight",
        "2 weights", "10 weights, one per class of digits", "",
    ),
    "weights of other classes in a sum": (
        classes(loss=total("poly1", {"cross_entropy": {"weight": [1]}})),
        "loss.sum.terms[1].loss.cross_entropy.weight", "1 weight", "10 weights", "",
    ),
    "alpha of other classes": (
        classes(loss={"focal": {"alpha": [0.25]}}), "loss.focal.alpha", "1 weight",
        "10 weights, one per class of digits", "",
    ),
    "two weights for one answer": (
        base(task="binary", dataset="breast_cancer",
             loss={"bce_with_logits": {"pos_weight": [1, 2]}}),
        "loss.bce_with_logits.pos_weight", "2 weights", "1 weight, one, for the single output", "",
    ),
    "weights of other labels": (
        base(task="multilabel", dataset="synthetic_multilabel",
             loss={"bce_with_logits": {"weight": [1, 2]}}),
        "loss.bce_with_logits.weight", "2 weights",
        "5 weights, one per label of synthetic_multilabel", "",
    ),
    "no weight at all": (
        classes(loss={"cross_entropy": {"weight": [0] * 10}}), "loss.cross_entropy.weight",
        "no weight above 0", "at least one weight > 0", "",
    ),
    "nesterov without momentum": (
        base(optimizer={"sgd": {"nesterov": True, "momentum": 0}}), "optimizer.sgd.nesterov",
        "true with momentum 0", "momentum > 0", "",
    ),
    "warm-up to the end, by epochs": (
        base(schedule={"cosine": {"warmup_steps": 540}}), "schedule.cosine.warmup_steps", "540",
        "less than the 540 steps", "",
    ),
    "warm-up to the end, by steps": (
        base(schedule={"one_cycle": {"warmup_steps": 9}}, training={"steps": 9}),
        "schedule.one_cycle.warmup_steps", "9", "less than the 9 steps", "",
    ),
    "warm-up to the end, by accumulation": (
        base(schedule={"constant": {"warmup_steps": 180}},
             training={"epochs": 60, "accumulation": 4}),
        "schedule.constant.warmup_steps", "180", "less than the 180 steps", "",
    ),
    "unknown metric": (
        base(training={"early_stopping": {"metric": "val/mea"}}), "training.early_stopping.metric",
        '"val/mea"', "one of val/loss, val/mae, val/rmse, val/r2", "did you mean 'val/mae'?",
    ),
    "best without a judge": (
        base(split={"train": 0.8, "validation": 0},
             training={"checkpoints": {"keep_best": True}}),
        "split.validation", "0 with training.checkpoints.keep_best", "a fraction > 0", "",
    ),
    "metric without its part": (
        base(schedule={"plateau": {"metric": "rmse"}}), "schedule.plateau.metric", '"rmse"',
        "one of val/loss", "did you mean 'val/rmse'?",
    ),
    "metric of another part": (
        base(training={"early_stopping": {"metric": "test/mae"}}),
        "training.early_stopping.metric", '"test/mae"', "one of val/loss",
        "did you mean 'val/mae'?",
    ),
    "metric of another task": (
        classes(training={"early_stopping": {"metric": "val/mae"}}),
        "training.early_stopping.metric", '"val/mae"', "one of val/loss, val/accuracy", "",
    ),
    "pinball without quantiles": (
        base(training={"early_stopping": {"metric": "val/pinball"}}),
        "training.early_stopping.metric", '"val/pinball"', "val/r2", "",
    ),
    "nothing to watch": (
        base(training={"early_stopping": {}}, split={"validation": 0}), "split.validation",
        "0 with training.early_stopping", "a fraction > 0", "",
    ),
    "nothing for the schedule to watch": (
        base(schedule="plateau", split={"validation": 0}), "split.validation",
        "0 with schedule.plateau", "a fraction > 0", "",
    ),
    "a tag that no filter can name": (
        base(tags={"a b": "x"}), "tags.a b", 'the name "a b"', "letters, digits", "",
    ),
    "a tag of the service": (
        base(tags={"mlflow.runName": "x"}), "tags.mlflow.runName", "mlflow.runName",
        "neither with 'mlflow.' nor 'talweg.'", "",
    ),
    "batch norm of one": (
        base(model={"mlp": {"batch_norm": True}}, training={"batch_size": 5}),
        "model.mlp.batch_norm", "a batch of 1 sample (266 training samples, batch_size 5)",
        "at least 2 samples", "batch_size",
    ),
    "the landscape of a game": (
        game("lsgan", diagnostics={"loss_landscape": {}}), "diagnostics.loss_landscape",
        "task gan", "a single loss", "Generator and critic have separate losses",
    ),
    "a landscape without a middle": (
        base(diagnostics={"loss_landscape": {"points": 10}}),
        "diagnostics.loss_landscape.points", "10", "an odd number", "the centre",
    ),
    "batch norm layer of one": (
        layers("flatten", "batch_norm", "linear", training={"batch_size": 1}),
        "model.sequential.layers[1].batch_norm", "a batch of 1 sample", "at least 2 samples",
        "batch_size",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    value, field, found, allowed, hint = REFUSED[name]
    violations, _ = checked(value)
    assert [v.field for v in violations] == [field]
    (violation,) = violations
    assert found in violation.found
    assert allowed in violation.allowed
    assert hint in violation.hint


def test_all_at_once() -> None:
    violations, _ = checked(
        base(
            dataset="wine",
            model={"mlp": {"dropout": 2}},
            loss=total({"mse": {"reduction": "none"}}, "focal"),
            optimizer={"sgd": {"nesterov": True, "momentum": 0}},
            training={"early_stopping": {"metric": "val/accuracy"}},
        )
    )
    assert {v.field for v in violations} == {
        "dataset", "model.mlp.dropout", "loss.sum.terms[0].loss.mse.reduction",
        "loss.sum.terms[1].loss", "optimizer.sgd.nesterov", "training.early_stopping.metric",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        # What is out of its own bounds is not held against others too.
        (base(split={"train": 0.9, "validation": -1, "test": 0.4}), ["split.validation"]),
        (base(split={"train": float("1e300")}), ["split.train"]),
        (classes(dataset=generated(num_classes=1)),
         ["dataset.synthetic_classification.num_classes"]),
        (base(training={"batch_size": 0}, schedule={"cosine": {"warmup_steps": 9999}}),
         ["training.batch_size"]),
        (layers({"conv2d": {"stride": 0}}, "linear"),
         ["model.sequential.layers[0].conv2d.stride"]),
    ],
)  # fmt: skip
def test_broken_parts_break_no_rule(value: dict[str, Any], fields: list[str]) -> None:
    violations, _ = checked(value)
    assert [v.field for v in violations] == fields


def test_specs_that_nobody_filled_break_no_rule() -> None:
    for value in (base(), classes(), {}, {"task": "binary"}, {"loss": "mse"}):
        check(from_dict(value))
    violations, warnings = check(JobSpec())
    assert {v.field for v in violations} == {"task", "dataset", "model", "loss"}
    assert warnings == []


def test_numbers_that_are_none_break_no_rule() -> None:
    spec = from_dict(base())
    spec.split.train = float("nan")
    spec.optimizer.adamw.learning_rate = float("inf")
    violations, _ = check(spec)
    assert {v.field for v in violations} == {"split.train", "optimizer.adamw.learning_rate"}


def test_a_model_of_vectors_alone_is_refused_on_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_vectors(_: Descriptor) -> ModelFacts:
        return ModelFacts(vectors=True, tasks=[options_pb2.MULTICLASS])

    monkeypatch.setattr("talweg.spec.rules.data.dataset.model_facts", of_vectors)
    (violation,), _ = checked(classes(model="linear"))
    assert violation.field == "model"
    assert violation.found == "linear on digits, whose inputs are images"
    assert not checked(classes(model="linear", dataset="iris"))[0]
