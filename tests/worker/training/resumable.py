"""Jobs that hold all that has to be kept when a training is stopped and gone on with."""

from functools import cache
from typing import Any

import pytest
from tests.worker.models.published import TINY
from tests.worker.training.feature_models import FEATURES
from tests.worker.training.jobs import job, run
from tests.worker.training.stored_weights import kept_by_job

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, models
from talweg.worker.training import RecordingReporter, Result

BATCH_NORM = {"mlp": {"hidden": [16, 8], "batch_norm": True, "dropout": 0.3}}
CASES: dict[str, dict[str, Any]] = {
    "regression, AdamW, accumulation, plateau": {
        "model": BATCH_NORM,
        "optimizer": {"adamw": {"learning_rate": 0.02}},
        "schedule": {"plateau": {"patience": 1, "warmup_steps": 3}},
        "training": {
            "accumulation": 2,
            "clip_norm": 1.0,
            "log_every_steps": 3,
            "guard": {"rollback": {"keep_every_steps": 4}},
        },
        "diagnostics": {"gradient_flow": {"points": 11}},
    },
    "regression, SGD with momentum, cut short": {
        "loss": {"huber": {"delta": 0.5, "reduction": "sum"}},
        "optimizer": {"sgd": {"learning_rate": 0.001, "momentum": 0.9, "nesterov": True}},
        "schedule": {"cosine": {"warmup_steps": 4}},
        "training": {"steps": 50, "log_every_steps": 1, "evaluate_every_epochs": 2},
    },
    "binary, RMSprop, early stopping": {
        "task": "binary",
        "dataset": "breast_cancer",
        "model": BATCH_NORM,
        "loss": "bce_with_logits",
        "optimizer": {"rmsprop": {"learning_rate": 0.01, "momentum": 0.5}},
        "training": {
            "epochs": 12,
            "batch_size": 64,
            "clip_value": 0.1,
            "early_stopping": {"metric": "val/f1", "patience": 2},
            "log_every_steps": 5,
        },
    },
    "multiclass, Adam, images": {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"convnet": {"channels": [4, 6], "batch_norm": True, "dropout": 0.2}},
        "loss": "cross_entropy",
        "optimizer": "adam",
        "schedule": "one_cycle",
        "training": {"epochs": 2, "batch_size": 128, "log_every_steps": 2},
    },
    "multiclass, balanced sampling, a curriculum": {
        "task": "multiclass",
        "dataset": {
            "synthetic_classification": {
                "num_samples": 300,
                "num_classes": 3,
                "class_shares": [0.7, 0.2, 0.1],
            }
        },
        "model": BATCH_NORM,
        "loss": "cross_entropy",
        "training": {
            "epochs": 8,
            "batch_size": 16,
            "accumulation": 2,
            "sampling": "balanced",
            "curriculum": {},
            "log_every_steps": 2,
        },
    },
    "multiclass, residual blocks": {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"resnet": {"width": 4, "stages": 2, "blocks": 1, "dropout": 0.2}},
        "loss": "cross_entropy",
        "training": {"epochs": 2, "batch_size": 128, "log_every_steps": 2},
    },
    "multiclass, a published vision transformer": {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"pretrained": {**TINY["vit"], "dropout": 0.2}},
        "loss": "cross_entropy",
        "training": {"epochs": 2, "batch_size": 128, "log_every_steps": 2},
    },
    "multiclass, a loss that learns, early stopping": {
        "task": "multiclass",
        "dataset": "wine",
        "model": BATCH_NORM,
        "loss": {"arcface": {}},
        "training": {
            "epochs": 8,
            "batch_size": 16,
            "early_stopping": {"patience": 3},
            "log_every_steps": 4,
        },
    },
    "metric learning, pairs that are drawn": {
        "task": "metric_learning",
        "dataset": "digits",
        "model": {"embedder": {"trunk": {"convnet": {"channels": [4]}}, "size": 6}},
        "loss": "triplet",
        "training": {"epochs": 2, "batch_size": 64, "log_every_steps": 3},
    },
    "metric learning, given pairs, batches that are normalised": {
        "task": "metric_learning",
        "dataset": {"digit_pairs": {"num_samples": 600}},
        "model": {"embedder": {"trunk": BATCH_NORM, "size": 6}},
        "loss": "contrastive",
        "training": {"epochs": 4, "batch_size": 64, "log_every_steps": 3},
    },
    "self-supervised, a projector and a predictor": {
        "task": "self_supervised",
        "dataset": "wine",
        "model": {"embedder": {"trunk": BATCH_NORM, "size": 6}},
        "loss": "negative_cosine",
        "training": {"epochs": 8, "batch_size": 32, "log_every_steps": 3},
    },
    "a game of two players": {
        "task": {"gan": {"critic_steps": 2, "gradient_penalty": 1, "critic_rate": 2}},
        "dataset": {"gaussian_ring": {"num_samples": 400}},
        "model": {"adversarial": {"generator": [8], "critic": [8]}},
        "loss": {"gan": {"form": "wgan"}},
        "training": {"steps": 40, "log_every_steps": 3},
        "diagnostics": {"gradient_flow": {}},
    },
    "codes that are drawn": {
        "task": "vae",
        "dataset": "wine",
        "model": {"autoencoder": {"code": 3, "hidden": [8]}},
        "loss": {"vae": {"recon": "gaussian"}},
        "training": {"epochs": 8, "log_every_steps": 2},
    },
    "regression, a curriculum behind a first pass": {
        "model": BATCH_NORM,
        "schedule": "cosine",
        "training": {
            "epochs": 8,
            "accumulation": 2,
            "batch_size": 16,
            "curriculum": {"start_share": 0.2},
            "log_every_steps": 2,
        },
    },
    "segmentation, a curriculum by an array": {
        "task": "segmentation",
        "dataset": {"digit_scenes": {"num_samples": 30}},
        "model": {"unet": {"channels": [4]}},
        "loss": "dice",
        "training": {
            "epochs": 5,
            "batch_size": 5,
            "curriculum": {"difficulty": {"array": "count"}},
            "log_every_steps": 2,
        },
    },
    "multiclass, transformer, steps left out": {
        "task": "multiclass",
        "dataset": "wine",
        "model": "transformer",
        "loss": "cross_entropy",
        "training": {"epochs": 6, "guard": "skip", "log_every_steps": 2},
        "diagnostics": {"gradient_flow": {"points": 5}},
    },
    "ordinal, a shared last layer": {
        "task": "ordinal",
        "model": BATCH_NORM,
        "loss": "coral",
        "training": {"epochs": 4, "log_every_steps": 2},
    },
    "metric learning": {
        "task": "metric_learning",
        "dataset": "digits",
        "model": "embedder",
        "loss": "triplet",
        "training": {"epochs": 2, "batch_size": 128, "log_every_steps": 2},
    },
    "segmentation": {
        "task": "segmentation",
        "dataset": {"digit_scenes": {"num_samples": 28}},
        "model": {"unet": {"channels": [4, 8], "patch": 2}},
        "loss": "dice",
        "training": {"steps": 16, "batch_size": 4, "log_every_steps": 2},
    },
    "image translation": {
        "task": "image_translation",
        "dataset": {"digit_scenes": {"num_samples": 20}},
        "model": {"unet": {"channels": [4, 8], "patch": 2}},
        "loss": {"sum": {"terms": [{"loss": "mae"}, {"loss": "ssim", "weight": 0.2}]}},
        "training": {"steps": 24, "batch_size": 2, "log_every_steps": 2},
    },
    "image translation, features of a frozen network by learned weights": {
        "task": "image_translation",
        "dataset": {"digit_scenes": {"num_samples": 20}},
        "model": {"unet": {"channels": [4, 8], "patch": 2}},
        "loss": {
            "perceptual": {
                "network": {"job": FEATURES},
                "layers": ["relu1", "relu2"],
                "learned": True,
            }
        },
        "training": {"steps": 24, "batch_size": 2, "log_every_steps": 2},
    },
    "detection": {
        "task": "detection",
        "dataset": {"digit_scenes": {"num_samples": 28}},
        "model": {"detector": {"channels": [8]}},
        "loss": "detection",
        "training": {"steps": 16, "batch_size": 2, "accumulation": 2, "log_every_steps": 2},
    },
    "three heads, weights that learn": {
        "task": {"multitask": {"heads": ["segmentation", "depth", "detection"]}},
        "dataset": {"digit_scenes": {"num_samples": 28}},
        "model": {"multi_head": {"trunk": {"unet": {"channels": [4], "patch": 4}}}},
        "loss": {"gradnorm": {"losses": ["ce_dice", "mae", "detection"]}},
        "training": {"steps": 16, "batch_size": 4, "log_every_steps": 2},
    },
    "multiclass, fp16": {
        "task": "multiclass",
        "dataset": "wine",
        "model": BATCH_NORM,
        "loss": "cross_entropy",
        "training": {"epochs": 6, "batch_size": 16, "precision": "fp16", "log_every_steps": 4},
    },
    "multiclass, frozen layers, rates by parameter, weights of another job": {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"convnet": {"channels": [4, 6], "batch_norm": True, "dropout": 0.2}},
        "loss": "cross_entropy",
        "optimizer": {"adamw": {"learning_rate": 0.02}},
        "schedule": "cosine",
        "freeze": ["conv1", "batch_norm1"],
        "learning_rates": {"conv2": 0.1, "linear.bias": 3},
        "training": {
            "epochs": 4,
            "batch_size": 128,
            "accumulation": 2,
            "clip_norm": 1.0,
            "early_stopping": {"patience": 3},
            "log_every_steps": 2,
        },
        "diagnostics": {"gradient_flow": {"points": 5}},
    },
    "multilabel, Adagrad": {
        "task": "multilabel",
        "dataset": {"synthetic_multilabel": {"num_samples": 300}},
        "model": BATCH_NORM,
        "loss": "bce_with_logits",
        "optimizer": "adagrad",
        "training": {"epochs": 12, "accumulation": 3, "log_every_steps": 1},
    },
}


def resumable(name: str) -> JobSpec:
    """Return one of the cases."""
    case = dict(CASES[name])
    case["training"] = {"seed": 3, **case["training"]}
    if not {"epochs", "steps"} & case["training"].keys():
        case["training"]["epochs"] = 6
    if "freeze" in case:
        case["weights"] = _weights(job(**case))
    return job(**case)


@cache
def undisturbed(name: str) -> tuple[Result, RecordingReporter]:
    """Run a case as it is, once for all tests; they leave what it gives as it is."""
    return run(resumable(name))


def _weights(spec: JobSpec) -> dict[str, str]:
    """Keep the network of a job as another job's, with other numbers and a larger last layer."""
    network = models.build(spec.model, data.load(spec).inputs.shape, 12, seed=11)
    return kept_by_job(network, "start")


every_case = pytest.mark.parametrize("name", CASES, ids=list(CASES))
