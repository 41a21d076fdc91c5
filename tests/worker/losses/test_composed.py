"""Losses made of parts, inputs without a gradient, and masks of every dtype."""

from typing import Any

import pytest
import torch
from tests.worker.losses.cases import slope
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses import evaluate

GENERATOR = torch.Generator().manual_seed(9)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64).requires_grad_()


LOGITS = numbers(2, 3, 4, 4)
CLASSES = torch.randint(0, 3, (2, 4, 4), generator=GENERATOR)
MASK = torch.randint(0, 2, (2, 3, 4, 4), generator=GENERATOR)
BOXES = torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.0, 1.0, 3.0, 4.5]], dtype=torch.float64)
OTHERS = torch.tensor([[1.0, 0.5, 4.0, 5.0], [0.0, 2.0, 2.5, 3.0]], dtype=torch.float64)
OVERLAPS = ("dice", "jaccard", "tversky", "focal_tversky")


def test_ce_dice_sums_each_part_by_itself() -> None:
    inputs = {"pred": LOGITS, "target": CLASSES}
    parts = [
        evaluate({"cross_entropy": {"reduction": "sum"}}, inputs),
        evaluate({"dice": {"mode": "multiclass", "reduction": "sum"}}, inputs),
    ]
    weights = {"ce_weight": 0.5, "dice_weight": 3.0}
    total = evaluate({"ce_dice": {**weights, "reduction": "sum"}}, inputs)
    torch.testing.assert_close(total, 0.5 * parts[0] + 3 * parts[1])


def test_ce_dice_ignores_in_both_parts() -> None:
    target = CLASSES.where(CLASSES != 1, 255)
    inputs = {"pred": LOGITS, "target": target}
    parts = [
        evaluate({"cross_entropy": {"ignore_index": 255}}, inputs),
        evaluate({"dice": {"mode": "multiclass", "ignore_index": 255}}, inputs),
    ]
    total = evaluate({"ce_dice": {"ignore_index": 255}}, inputs)
    torch.testing.assert_close(total, parts[0] + parts[1])
    moved = LOGITS.detach() + 5 * torch.randn(LOGITS.shape, generator=GENERATOR) * (
        target == 255
    ).unsqueeze(1)
    torch.testing.assert_close(
        evaluate({"ce_dice": {"ignore_index": 255}}, {"pred": moved, "target": target}), total
    )


def test_the_sum_of_total_variation_is_that_of_all_differences() -> None:
    total = evaluate({"total_variation": {"reduction": "sum"}}, {"pred": LOGITS})
    expected = LOGITS.diff(dim=2).abs().sum() + LOGITS.diff(dim=3).abs().sum()
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("loss", OVERLAPS)
def test_pooled_samples_cannot_be_left_unreduced(loss: str) -> None:
    spec = {loss: {"mode": "binary", "batch": True, "reduction": "none"}}
    with pytest.raises(ValueError, match="mean or sum where batch is true.* but got none"):
        evaluate(spec, {"pred": LOGITS, "target": MASK.double()})


@pytest.mark.parametrize("loss", OVERLAPS)
def test_values_are_by_sample_and_class(loss: str) -> None:
    spec = {loss: {"mode": "multiclass", "include_background": False, "reduction": "none"}}
    assert evaluate(spec, {"pred": LOGITS, "target": CLASSES}).shape == (2, 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float16])
@pytest.mark.parametrize("loss", [*OVERLAPS, "lovasz_hinge"])
def test_masks_may_be_of_any_dtype(loss: str, dtype: torch.dtype) -> None:
    expected = evaluate(loss, {"pred": LOGITS, "target": MASK.double()})
    given = evaluate(loss, {"pred": LOGITS, "target": MASK.to(dtype)})
    torch.testing.assert_close(given, expected, rtol=0, atol=0)


@pytest.mark.parametrize("loss", OVERLAPS)
def test_an_ignored_mask_of_bytes(loss: str) -> None:
    target = CLASSES.where(CLASSES != 1, 255)
    spec = {loss: {"mode": "multiclass", "ignore_index": 255}}
    expected = evaluate(spec, {"pred": LOGITS, "target": target})
    given = evaluate(spec, {"pred": LOGITS, "target": target.byte()})
    torch.testing.assert_close(given, expected, rtol=0, atol=0)


def detection(**params: Any) -> Tensor:
    scene = {
        "class_logits": LOGITS,
        "target_classes": CLASSES,
        "boxes": BOXES,
        "target_boxes": OTHERS,
    }
    return evaluate({"detection": params}, scene)


def test_detection_weighs_its_parts_each_reduced_in_its_own_way() -> None:
    boxes = {"pred": BOXES, "target": OTHERS}
    classes = {"pred": LOGITS, "target": CLASSES}
    parts = evaluate("focal", classes), evaluate("giou", boxes)
    torch.testing.assert_close(detection(), parts[0] + parts[1])
    by_sum = detection(
        class_loss={"cross_entropy": {"reduction": "sum"}},
        box_loss={"ciou": {"reduction": "sum"}},
        class_weight=0.1,
        box_weight=5,
    )
    parts = (
        evaluate({"cross_entropy": {"reduction": "sum"}}, classes),
        evaluate({"ciou": {"reduction": "sum"}}, boxes),
    )
    torch.testing.assert_close(by_sum, 0.1 * parts[0] + 5 * parts[1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"class_loss": {"focal": {"reduction": "none"}}}, r"class_loss.focal.reduction must"),
        ({"box_loss": {"iou": {"reduction": "none"}}}, "box_loss.iou.reduction must be mean or"),
        (
            {"class_loss": {"focal": {"alpha": [1, 2]}}},
            "alpha must have one value per class, 3, but",
        ),
        ({"box_loss": "huber"}, "box_loss"),
        ({"class_weight": -1}, "class_weight"),
    ],
)
def test_parts_of_detection_that_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detection(**params)


def test_only_what_learns_gets_a_gradient() -> None:
    names = ("weights", "grad_norms", "losses", "initial_losses")
    norms = {name: (numbers(3).detach().abs() + 1).requires_grad_() for name in names}
    loss = evaluate("gradnorm", norms)
    others = [norms[name] for name in names[1:]]
    gradients = torch.autograd.grad(loss, others, allow_unused=True, retain_graph=True)
    assert all(gradient is None or not gradient.any() for gradient in gradients)
    assert slope(loss, norms["weights"]).all()

    one, other = numbers(3, 2), numbers(3, 2)
    loss = evaluate("negative_cosine", {"emb1": one, "emb2": other})
    (gradient,) = torch.autograd.grad(loss, other, allow_unused=True, retain_graph=True)
    assert gradient is None
    assert slope(loss, one).any()


def test_uncertainty_lets_the_losses_learn_too() -> None:
    losses, log_vars = numbers(2), numbers(2)
    loss = evaluate(
        {"uncertainty": {"variant": "simple"}}, {"losses": losses, "log_vars": log_vars}
    )
    torch.testing.assert_close(slope(loss, losses), torch.exp(-log_vars))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_torch_agrees_where_it_has_the_loss(reduction: str) -> None:
    one, other, third = numbers(6, 4), numbers(6, 4), numbers(6, 4)
    sign = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0], dtype=torch.float64)
    spec = {"margin": 0.2, "reduction": reduction}
    pair = {"emb1": one, "emb2": other, "sign": sign}
    torch.testing.assert_close(
        evaluate({"cosine_embedding": spec}, pair),
        F.cosine_embedding_loss(one, other, sign, margin=0.2, reduction=reduction),
    )
    x1, x2 = one[:, 0], other[:, 0]
    torch.testing.assert_close(
        evaluate({"margin_ranking": spec}, {"x1": x1, "x2": x2, "sign": sign}),
        F.margin_ranking_loss(x1, x2, sign, margin=0.2, reduction=reduction),
    )
    triplet = {"anchor": one, "positive": other, "negative": third}
    for swap in (False, True):
        expected = F.triplet_margin_with_distance_loss(
            one,
            other,
            third,
            distance_function=lambda a, b: (a - b).norm(dim=1),
            margin=0.2,
            swap=swap,
            reduction=reduction,
        )
        torch.testing.assert_close(
            evaluate({"triplet": {**spec, "swap": swap}}, triplet), expected
        )


def test_the_wider_of_the_inputs_dtypes_counts() -> None:
    half, double = torch.rand(3, 2).half(), torch.rand(3, 2).double()
    assert evaluate("nt_xent", {"z1": half, "z2": half}).dtype is torch.float32
    assert evaluate("nt_xent", {"z1": half, "z2": double}).dtype is torch.float64
    labels = torch.tensor([0, 1, 0])
    for weight, dtype in ((half, torch.float32), (double, torch.float64)):
        inputs = {"embeddings": half, "class_weight": weight, "labels": labels}
        assert evaluate("arcface", inputs).dtype is dtype


def test_arcface_keeps_its_digits_near_a_centre() -> None:
    """In float32, where the cosine of a small angle is 1."""
    centre = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    angle = torch.tensor([1e-2, 1e-3, 1e-4])
    near = torch.stack([angle.cos(), angle.sin()], 1).requires_grad_()
    inputs = {"class_weight": centre, "labels": torch.zeros(3).long()}
    spec = {"arcface": {"margin": 1.5, "reduction": "none"}}
    given = evaluate(spec, {"embeddings": near, **inputs})
    exact = evaluate(
        spec,
        {"embeddings": near.detach().double(), **inputs, "class_weight": centre.double()},
    )
    torch.testing.assert_close(given.double(), exact, rtol=1e-5, atol=0)
    assert torch.isfinite(slope(given.sum(), near)).all()
