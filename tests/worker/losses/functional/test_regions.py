"""Dice, Jaccard and Tversky against sums over masks; Lovász against its definition by sets."""

import itertools
from typing import Any

import pytest
import torch
from tests.worker.losses.functional.helpers import (
    classes,
    close,
    finite,
    numbers,
    shares,
    slopes_agree,
)
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional import regions
from talweg.worker.losses.functional._softmax_sums import SoftmaxSums
from talweg.worker.losses.functional.lovasz import lovasz_hinge, lovasz_softmax

LOSSES = {
    "dice": regions.dice,
    "jaccard": regions.jaccard,
    "tversky": regions.tversky,
    "focal_tversky": regions.focal_tversky,
}
LOGITS = numbers(2, 3, 4, 2)
INDICES, ANSWERS = classes(3, 2, 4, 2), classes(2, 2, 3, 4, 2).double()


def formula(name: str, p: Tensor, t: Tensor, squared: bool, nr: float, dr: float) -> float:
    """Return one region's loss by its definition, of probabilities and a mask of positions."""
    both = float((p * t).sum())
    of_pred, of_target = (float((x**2 if squared else x).sum()) for x in (p, t))
    if name == "dice":
        return 1 - (2 * both + nr) / (of_pred + of_target + dr)
    if name == "jaccard":
        return 1 - (both + nr) / (of_pred + of_target - both + dr)
    misses = 0.3 * (of_pred - both) + 0.7 * (of_target - both)
    loss = 1 - (both + nr) / (both + misses + dr)
    return loss if name == "tversky" else loss**0.75


OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch": True},
    {"squared": True},
    {"include_background": False},
    {"ignore_index": 1},
    {"ignore_index": 1, "batch": True, "squared": True, "include_background": False},
    {"from_logits": False},
]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("mode", ["multiclass", "multilabel", "binary"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_regions_by_their_definition(name: str, mode: Any, options: dict[str, Any]) -> None:
    logits, target = LOGITS, INDICES if mode == "multiclass" else ANSWERS
    if not options.get("from_logits", True):
        logits = shares(2, 3, 4, 2).requires_grad_()
        probability = logits.detach()
    else:
        probability = (logits.softmax(1) if mode == "multiclass" else logits.sigmoid()).detach()
    mask = F.one_hot(target, 3).movedim(-1, 1).double() if mode == "multiclass" else target
    kept = target != options.get("ignore_index", -1)
    kept = kept[:, None].expand(2, 3, 4, 2) if mode == "multiclass" else kept
    first = 0 if options.get("include_background", True) else 1
    squared = bool(options.get("squared"))

    def by_hand(samples: Any, c: int) -> float:
        positions = kept[samples, c]
        p, t = probability[samples, c][positions], mask[samples, c][positions]
        return formula(name, p, t, squared, 0.03, 0.05)

    samples: list[Any] = [slice(None)] if options.get("batch") else [0, 1]
    expected = [[by_hand(n, c) for c in range(first, 3)] for n in samples]

    def loss(logits: Tensor) -> Tensor:
        sums = regions.overlap(logits, target, mode, **options)
        return LOSSES[name](sums, smooth_nr=0.03, smooth_dr=0.05)

    close(loss(logits), expected[0] if options.get("batch") else expected)
    slopes_agree(loss, logits)


def test_the_gradient_of_the_softmax_sums_has_one_of_its_own() -> None:
    kept = torch.tensor([[1, 0, 1, 1], [1, 1, 1, 0]]).double()
    logits, target = numbers(2, 3, 4), classes(3, 2, 4)
    for given in (None, kept):

        def sums(z: Tensor, kept: Tensor | None = given) -> Any:
            return SoftmaxSums.apply(z, target, kept)  # type: ignore[no-untyped-call]

        assert torch.autograd.gradcheck(sums, logits)
        assert torch.autograd.gradgradcheck(sums, logits)


def test_a_single_channel_has_no_background() -> None:
    sums = regions.overlap(LOGITS[:, :1], ANSWERS[:, :1], "binary", include_background=False)
    assert sums.both.shape == (2, 1)


def test_pooled_dice_misses_rare_foreground() -> None:
    """A mask of which 1% is foreground, all of it missed."""
    target = torch.zeros(4, 100, 100).long()
    target[:, :10, :10] = 1
    logits = torch.stack([torch.full((4, 100, 100), 50.0), torch.full((4, 100, 100), -50.0)], 1)
    flat = torch.nn.functional.one_hot(target, 2).movedim(-1, 1).double()
    probability = logits.softmax(1).double()
    pooled = 1 - 2 * (flat * probability).sum() / (flat.sum() + probability.sum())
    assert pooled.item() == pytest.approx(0.01)
    by_class = regions.dice(regions.overlap(logits, target, "multiclass"))
    assert by_class.mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smooth", [1e-5, 0.0])
@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
def test_saturated_and_empty_masks_are_finite(name: str, smooth: float, mode: Any) -> None:
    logits = torch.tensor([1e4, -1e4, 0.0]).reshape(1, 3, 1).repeat(2, 1, 4)
    targets = [torch.zeros(2, 4).long(), torch.ones(2, 4).long()]
    if mode == "multilabel":
        targets = [torch.zeros(2, 3, 4), torch.ones(2, 3, 4)]
    for target, ignored in itertools.product(targets, (None, 0, 1)):

        def loss(z: Tensor, target: Tensor = target, ignored: int | None = ignored) -> Tensor:
            sums = regions.overlap(z, target, mode, ignore_index=ignored)
            return LOSSES[name](sums, smooth_nr=smooth, smooth_dr=smooth)

        value, _ = finite(loss, logits)
        assert value.min() >= -1e-6
        assert value.max() <= 1


def test_a_perfect_mask_has_a_finite_gradient_under_a_power_below_one() -> None:
    def loss(p: Tensor) -> Tensor:
        sums = regions.overlap(p, torch.ones(1, 1, 4), "binary", from_logits=False)
        return regions.focal_tversky(sums, gamma=0.5)

    value, _ = finite(loss, torch.ones(1, 1, 4))
    assert value.item() == pytest.approx(0, abs=1e-6)


def by_sets(errors: list[float], truth: list[bool]) -> float:
    """Return the Lovász extension, an integral of the Jaccard loss over sets of larger errors."""

    def jaccard(wrong: set[int]) -> float:
        real = {i for i, t in enumerate(truth) if t}
        if not real | wrong:
            return 0.0
        return 1 - len(real - wrong) / len(real | wrong)

    levels = sorted({*errors, 0.0}, reverse=True)
    total = 0.0
    for high, low in itertools.pairwise(levels):
        wrong = {i for i, e in enumerate(errors) if e >= high}
        total += (high - low) * jaccard(wrong)
    return total


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("ignore_index", [None, 1])
def test_lovasz_softmax_is_the_extension(
    present: bool, per_image: bool, ignore_index: int | None
) -> None:
    logits, target = numbers(2, 4, 3, 2), classes(3, 2, 3, 2)
    probability = logits.detach().softmax(1).movedim(1, -1)
    groups = [[0], [1]] if per_image else [[0, 1]]
    images = []
    for group in groups:
        p, t = probability[group].reshape(-1, 4), target[group].flatten()
        if ignore_index is not None:
            p, t = p[t != ignore_index], t[t != ignore_index]
        by_class = [
            by_sets((p[:, c] - (t == c).double()).abs().tolist(), (t == c).tolist())
            for c in range(4)
            if not present or (t == c).any()
        ]
        images.append(sum(by_class) / len(by_class))

    def loss(z: Tensor) -> Tensor:
        return lovasz_softmax(
            z, target, present=present, per_image=per_image, ignore_index=ignore_index
        )

    close(loss(logits), sum(images) / len(images))
    slopes_agree(loss, logits)


def test_lovasz_hinge_is_the_extension() -> None:
    logits, target = numbers(2, 3, 2), classes(2, 2, 3, 2)
    errors = (1 - logits * (2 * target - 1)).clamp(min=0).flatten().tolist()
    close(lovasz_hinge(logits, target), by_sets(errors, target.flatten().bool().tolist()))
    slopes_agree(lambda z: lovasz_hinge(z, target), logits)


def test_lovasz_is_finite_at_extremes_and_zero_where_nothing_counts() -> None:
    far = torch.tensor([1e4, -1e4, 0.0]).reshape(1, 3, 1).repeat(2, 1, 4)
    for target in (torch.zeros(2, 4).long(), torch.ones(2, 4).long()):
        for options in ({}, {"present": False}, {"per_image": True}, {"ignore_index": 1}):
            finite(lambda z, t=target, o=options: lovasz_softmax(z, t, **o), far)
    value, (gradient,) = finite(
        lambda z: lovasz_softmax(z, torch.full((2, 4), 255), ignore_index=255), far
    )
    assert value == 0
    assert not gradient.any()
    for target in (torch.zeros(2, 3, 4), torch.ones(2, 3, 4)):
        finite(lambda z, t=target: lovasz_hinge(z, t), far)
    assert finite(lambda z: lovasz_softmax(z, torch.empty(0, 4).long()), far[:0])[0] == 0
    assert finite(lambda z: lovasz_hinge(z, torch.empty(0, 3, 4)), far[:0])[0] == 0
