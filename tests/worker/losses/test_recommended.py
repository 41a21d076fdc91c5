"""Recommended losses of tasks beside classes and numbers compute something over their data."""

from typing import Any

import pytest
import torch
from tests.proto.problems import problems
from torch import Tensor

from talweg.spec import fill_message, label
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import build, evaluate

N, C, D = 6, 3, 4
RNG = torch.Generator().manual_seed(5)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=RNG)


def boxes() -> Tensor:
    corner = randn(N, 2)
    return torch.cat([corner, corner + randn(N, 2).abs() + 0.1], 1)


LABELS = torch.arange(N) % C
SIGNS = torch.tensor([1.0, -1.0] * (N // 2))
INPUTS: dict[str, Any] = {
    **{name: lambda: randn(N, D) for name in (
        "emb1", "emb2", "anchor", "positive", "negative", "embeddings", "z1", "z2", "query",
        "image", "text", "mu", "logvar", "recon",
    )},
    **{name: lambda: randn(N) for name in ("x1", "x2", "real", "fake")},
    **{name: lambda: randn(2).abs() + 0.1 for name in (
        "losses", "log_vars", "weights", "grad_norms", "initial_losses",
    )},
    "similar": lambda: (SIGNS + 1) / 2,
    "sign": lambda: SIGNS,
    "labels": lambda: LABELS,
    "class_weight": lambda: randn(C, D),
    "class_logits": lambda: randn(N, C),
    "target_classes": lambda: LABELS,
    "boxes": boxes,
    "target_boxes": boxes,
}  # fmt: skip
CLASS_MASKS = {"pred": randn(2, C, 4, 4), "target": torch.randint(0, C, (2, 4, 4), generator=RNG)}
YES_NO = torch.randint(0, 2, (2, 4, 4), generator=RNG)
# What the pictures of a task are, by what its masks hold.
PICTURES: dict[tuple[str, str], dict[str, Tensor]] = {
    ("segmentation", "multiclass"): CLASS_MASKS,
    ("segmentation", "binary"): {"pred": randn(2, 1, 4, 4), "target": YES_NO[:, None].float()},
    ("segmentation", "multilabel"): {
        "pred": randn(2, C, 4, 4),
        "target": torch.randint(0, 2, (2, C, 4, 4), generator=RNG).float(),
    },
    ("ordinal", ""): {"pred": randn(N, C - 1), "target": LABELS},
    ("image_translation", ""): {
        "pred": torch.rand(2, 3, 16, 16, generator=RNG),
        "target": torch.rand(2, 3, 16, 16, generator=RNG),
    },
    ("vae", ""): {"target": torch.rand(N, D, generator=RNG)},
}


def inputs_of(task: str, facts: dict[str, Any], loss: Loss) -> dict[str, Tensor]:
    # The same for a loss whatever was evaluated before it.
    RNG.manual_seed(5)
    masks = facts.get("masks", "multiclass") if task == "segmentation" else ""
    given = PICTURES.get((task, masks), {})
    if masks == "binary" and loss.WhichOneof("kind") == "lovasz_hinge":
        given = {"pred": given["pred"][:, 0], "target": given["target"][:, 0]}
    module = build(fill_message(loss))
    chosen = {name: INPUTS[name]() for name in module.input_names if name not in given}
    chosen |= {
        name: tensor
        for name, tensor in given.items()
        if name in (*module.input_names, *module.optional_names)
    }
    return {name: tensor.detach().clone() for name, tensor in chosen.items()}


@pytest.mark.parametrize(
    "task",
    [
        "ordinal", "segmentation", "detection", "metric_learning", "self_supervised", "gan",
        "vae", "image_translation", "multitask",
    ],
)  # fmt: skip
def test_recommended_losses_evaluate_on_the_tasks_data(task: str) -> None:
    seen = set()
    for facts, found in problems(task):
        for each in found.recommendations:
            key = (facts.get("masks"), each.loss.SerializeToString(deterministic=True))
            # A perceptual loss needs a network beside it.
            if key in seen or "perceptual" in label(each.loss):
                continue
            seen.add(key)
            inputs = inputs_of(task, facts, each.loss)
            wanted = [tensor for tensor in inputs.values() if tensor.is_floating_point()]
            for tensor in wanted:
                tensor.requires_grad_(True)
            value = evaluate(each.loss, inputs)
            assert value.ndim == 0, label(each.loss)
            assert value.isfinite(), label(each.loss)
            value.backward()  # type: ignore[no-untyped-call]
            gradients = [tensor.grad for tensor in wanted if tensor.grad is not None]
            assert any(gradient.abs().sum() > 0 for gradient in gradients), label(each.loss)
    assert seen
