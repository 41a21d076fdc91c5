"""Specs that break a rule of task, data, model or loss, and parts that such specs share."""

from typing import Any

from tests.proto.specs import base, classes


def embeddings(**changes: Any) -> dict[str, Any]:
    """Give a spec of metric learning in order, with some fields replaced."""
    parts: dict[str, Any] = {"task": "metric_learning", "model": "embedder", "loss": "supcon"}
    return classes(**{**parts, **changes})


def game(form: str, held: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Give a spec of an adversarial game in order, with some fields replaced."""
    parts: dict[str, Any] = {
        "task": {"gan": held or {}}, "dataset": "gaussian_ring", "model": "adversarial",
        "loss": {"gan": {"form": form}},
    }  # fmt: skip
    return base(**{**parts, **changes})


def quantiles(*values: float) -> dict[str, Any]:
    return {"multi_quantile": {"quantiles": list(values)}}


def total(*terms: Any) -> dict[str, Any]:
    return {"sum": {"terms": [{"loss": term} for term in terms]}}


def generated(**params: Any) -> dict[str, Any]:
    return {"synthetic_classification": params}


NESTED: dict[str, Any] = total("mse")
for _ in range(5):
    NESTED = total(NESTED)


# Spec, field, part of found, part of allowed, part of hint.
KINDS_REFUSED: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "loss of another task": (
        base(loss="cross_entropy"),
        "loss",
        "cross_entropy under task regression",
        "one of mse, mae, huber",
        "cross_entropy suits tasks multiclass",
    ),
    "loss of another task in a sum": (
        base(loss=total("mse", total("mae", "bce"))),
        "loss.sum.terms[1].loss.sum.terms[1].loss",
        "bce under task regression",
        "one of mse",
        "bce suits tasks binary, multilabel",
    ),
    **{
        f"{loss} before its task": (
            base(loss={loss: {}}),
            "loss",
            f"{loss} under task regression",
            "one of mse",
            task,
        )
        for loss, task in (
            ("coral", "coral suits tasks ordinal"),
            ("dice", "segmentation"),
            ("giou", "detection"),
            ("triplet", "metric_learning"),
            ("arcface", "metric_learning, multiclass"),
            ("nt_xent", "self_supervised"),
            ("gan", "gan"),
            ("vae", "vae"),
            ("ssim", "image_translation"),
            ("uncertainty", "multitask"),
        )
    },
    "a teacher in a job": (
        classes(loss="distillation"),
        "loss",
        "distillation in a job",
        "one of cross_entropy",
        "jobs have no teacher",
    ),
    "counts of other classes": (
        classes(loss={"logit_adjusted": {"class_counts": [1, 2]}}),
        "loss.logit_adjusted.class_counts",
        "2 counts",
        "10 counts, one per class of digits",
        "",
    ),
    "a weight of the one answer": (
        base(
            task="binary",
            dataset="breast_cancer",
            loss={"bce_with_logits": {"weight": "balanced"}},
        ),
        "loss.bce_with_logits.weight",
        "several class weights",
        "one value",
        "pos_weight",
    ),
    "variance in a sum": (
        base(loss=total("mse", "gaussian_nll")),
        "loss.sum.terms[1].loss",
        "gaussian_nll in a sum with mse",
        "the same outputs",
        "two outputs per target",
    ),
    "an embedding in a sum": (
        classes(loss=total("arcface", "cosface")),
        "loss.sum.terms[1].loss",
        "cosface in a sum with arcface",
        "the same outputs",
        "embedding",
    ),
    "amounts below 0": (
        base(loss="tweedie", dataset="synthetic_regression"),
        "dataset",
        "synthetic_regression, which has negative targets",
        "under tweedie",
        "",
    ),
    "amounts in other units": (
        base(loss="tweedie", preprocessing={"standardise_targets": True}),
        "preprocessing.standardise_targets",
        "true",
        "",
        "",
    ),
    "no sums without end": (
        base(loss=NESTED),
        "loss" + ".sum.terms[0].loss" * 5,
        "a sum inside 5 sums",
        "at most 5 levels",
        "",
    ),
    "a sum of nothing": (
        base(loss={"sum": {"terms": [{"loss": "mse", "weight": 0}]}}),
        "loss.sum.terms",
        "no weight above 0",
        "at least one weight > 0",
        "",
    ),
    "a loss of no part": (
        base(loss={"asymmetric_mse": {"over_penalty": 0, "under_penalty": 0}}),
        "loss.asymmetric_mse",
        "over_penalty and under_penalty of 0",
        "at least one weight > 0",
        "",
    ),
    "targets of another kind": (
        base(dataset="iris"),
        "dataset",
        "iris, whose targets do not suit task regression",
        "one of diabetes, synthetic_regression",
        "iris suits tasks multiclass",
    ),
    "images are needed": (
        base(model="convnet"),
        "model",
        "convnet on diabetes, whose inputs are vectors",
        "for vectors",
        "digits",
    ),
    "groups that leave a rest": (
        classes(model={"resnet": {"norm": "group", "width": 12}}),
        "model.resnet.groups",
        "8",
        "a divisor of width (12)",
        "",
    ),
    "groups of a trunk that leave a rest": (
        embeddings(model={"embedder": {"trunk": {"resnet": {"norm": "group", "groups": 5}}}}),
        "model.embedder.trunk.resnet.groups",
        "5",
        "a divisor of width (16)",
        "",
    ),
    "a resnet as a trunk over vectors": (
        embeddings(
            model={"embedder": {"trunk": "resnet"}},
            dataset=generated(num_classes=10, num_informative=5),
        ),
        "model.embedder.trunk",
        "resnet on synthetic_classification",
        "for vectors",
        "trunk: mlp",
    ),
    "a size of another architecture": (
        classes(model={"pretrained": {"architecture": "vit", "size": "50", "patch_size": 4}}),
        "model.pretrained.size",
        '"50" of vit',
        "one of base, tiny, small, large, huge",
        "",
    ),
    "a number of another architecture": (
        classes(model={"pretrained": {"architecture": "resnet", "heads": 4}}),
        "model.pretrained.heads",
        "heads of resnet",
        "nothing: vit alone has it",
        "leave it out",
    ),
    "blocks of another architecture": (
        classes(model={"pretrained": {"architecture": "vit", "patch_size": 4, "block": "basic"}}),
        "model.pretrained.block",
        "block of vit",
        "nothing: resnet alone has it",
        "leave it out",
    ),
    "stages without depths": (
        classes(model={"pretrained": {"architecture": "resnet", "hidden_sizes": [8, 16]}}),
        "model.pretrained.depths",
        "4 numbers of resnet",
        "2, one per stage",
        "",
    ),
    "stages of a published vit": (
        classes(model={"pretrained": {"architecture": "vit", "depths": [2, 2], "patch_size": 4}}),
        "model.pretrained.depths",
        "2 numbers",
        "one number of vit",
        "",
    ),
    "published heads that share unequally": (
        classes(model={"pretrained": {"architecture": "vit", "heads": 5, "patch_size": 4}}),
        "model.pretrained.heads",
        "5",
        "a divisor of hidden_sizes (768)",
        "",
    ),
    "a bottleneck that does not divide": (
        classes(
            model={
                "pretrained": {
                    "architecture": "resnet",
                    "hidden_sizes": [8, 6],
                    "depths": [1, 1],
                }
            }
        ),
        "model.pretrained.hidden_sizes[1]",
        "6",
        "a multiple of 4 with bottleneck blocks",
        "",
    ),
    "published patches that leave a rest": (
        embeddings(model={"embedder": {"trunk": {"pretrained": "vit"}}}),
        "model.embedder.trunk.pretrained.patch_size",
        "16 on images of 8×8 pixels",
        "divisor of both sides",
        "image_size: 224",
    ),
    "more published tokens than can attend": (
        classes(model={"pretrained": {"architecture": "vit", "patch_size": 1, "image_size": 64}}),
        "model.pretrained.patch_size",
        "1 on images of 64×64 pixels: 4097 tokens",
        "at most 4096 tokens",
        "larger patches",
    ),
    "too few pixels for four stages": (
        classes(model={"pretrained": "convnextv2"}),
        "model.pretrained",
        "images of 8×8 pixels",
        "at least 32 pixels on each side",
        "image_size: 224",
    ),
    "channels that images do not have": (
        classes(model={"pretrained": {"architecture": "resnet", "channels": 4}}),
        "model.pretrained.channels",
        "4 on images of 1 channel",
        "1, or 3 on images of 1 channel",
        "leave it out",
    ),
    "a published resnet in two processes": (
        classes(model={"pretrained": "resnet"}, resources={"processes": 2}),
        "resources.processes",
        "2 with batch normalisation",
        "another normalisation",
        "",
    ),
    "heads that share unequally": (
        base(model={"transformer": {"width": 30}}),
        "model.transformer.width",
        "30",
        "a multiple of heads (4)",
        "",
    ),
    "patches that leave a rest": (
        classes(model={"transformer": {"patch": 3}}),
        "model.transformer.patch",
        "3 on images of 8×8 pixels",
        "divisor of both sides",
        "",
    ),
    "more tokens than can attend": (
        base(
            model="transformer",
            dataset={"synthetic_regression": {"num_features": 4097, "num_samples": 500}},
        ),
        "model",
        "4097 tokens",
        "at most 4096",
        "mlp",
    ),
    "binary of three": (
        base(task="binary", loss="bce_with_logits", dataset=generated(num_classes=3)),
        "dataset.synthetic_classification.num_classes",
        "3",
        "2 under task binary",
        "multiclass",
    ),
    "shares of other classes": (
        classes(dataset=generated(num_classes=3, class_shares=[0.5, 0.5])),
        "dataset.synthetic_classification.class_shares",
        "2 fractions",
        "3, one per class",
        "",
    ),
    "shares that are not all": (
        classes(dataset=generated(class_shares=[0.5, 0.4])),
        "dataset.synthetic_classification.class_shares",
        "a sum of 0.9",
        "a sum of 1",
        "",
    ),
    "more informative than there are": (
        classes(dataset=generated(num_features=4, num_informative=5)),
        "dataset.synthetic_classification.num_informative",
        "5",
        "at most num_features (4)",
        "",
    ),
    "another model for embeddings": (
        embeddings(model="mlp"),
        "model",
        "mlp under task metric_learning",
        "embedder",
        "",
    ),
    "vectors of another length": (
        embeddings(loss={"cosface": {"embedding_size": 8}}),
        "loss.cosface.embedding_size",
        "8",
        "64, the size of model.embedder",
        "",
    ),
    "batches that cut groups": (
        embeddings(training={"batch_size": 30}),
        "training.batch_size",
        "30 with samples_per_class 4",
        "a multiple of 4, and at least 8",
        "",
    ),
    "batches of one group": (
        embeddings(training={"batch_size": 4}),
        "training.batch_size",
        "4 with samples_per_class 4",
        "at least 8",
        "",
    ),
    "one class to validate on": (
        embeddings(split={"train": 0.7, "validation": 0.1, "test": 0.2}),
        "split.validation",
        "1 of the 10 classes of digits",
        "at least 2 classes, or 0",
        "classes are split",
    ),
    "turned vectors": (
        embeddings(
            task={"metric_learning": {"turned_classes": True}},
            dataset=generated(num_classes=10, num_informative=5),
        ),
        "task.metric_learning.turned_classes",
        "no square images",
        "square images",
        "",
    ),
    "a convnet as a trunk over vectors": (
        embeddings(
            model={"embedder": {"trunk": "convnet"}},
            dataset=generated(num_classes=10, num_informative=5),
        ),
        "model.embedder.trunk",
        "convnet on synthetic_classification",
        "for vectors",
        "trunk: mlp",
    ),
    "a watched loss that unseen classes have not": (
        embeddings(loss="arcface", training={"early_stopping": {}}),
        "training.early_stopping.metric",
        "val/loss",
        "one of val/recall_at_1",
        "",
    ),
    "a view with nothing to be told from": (
        embeddings(task="self_supervised", loss="nt_xent", training={"batch_size": 77}),
        "training.batch_size",
        "a batch of 1 sample",
        "at least 2 samples",
        "another training.batch_size",
    ),
    "a critic that nothing holds": (
        game("wgan"),
        "task.gan",
        "form wgan without regularisation of the critic",
        "one of gradient_penalty, weight_clip",
        "be unbounded",
    ),
    "one side of a game": (
        game("hinge", loss={"gan": {"side": "generator"}}),
        "loss.gan.side",
        "generator in a job",
        "discriminator",
        "jobs train both sides",
    ),
    "a watched loss of a game": (
        game("hinge", training={"early_stopping": {}}),
        "training.early_stopping.metric",
        "val/loss",
        "val/sliced_wasserstein",
        "",
    ),
    "a code alone": (
        classes(task="vae", model="autoencoder", loss="gaussian_kl"),
        "loss",
        "gaussian_kl in a job",
        "vae",
        "vae, which has both",
    ),
    "several numbers as a rank": (
        base(task="ordinal", dataset={"synthetic_regression": {"num_targets": 2}}, loss="corn"),
        "dataset.synthetic_regression.num_targets",
        "2",
        "1 under task ordinal",
        "",
    ),
}
