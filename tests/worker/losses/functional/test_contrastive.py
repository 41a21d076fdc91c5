"""Losses over a batch's cosines, and the softmax losses with margins."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.worker.losses.functional.helpers import classes, close, finite, numbers, slopes_agree
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional._safe import masked_mean
from talweg.worker.losses.functional.embedding import contrastive as losses
from talweg.worker.losses.functional.embedding.margins import arcface, cosface

Z1, Z2 = numbers(5, 4), numbers(5, 4, seed=1)
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3])
EMBEDDINGS = numbers(7, 4, seed=2)
ALONE = torch.tensor([0, 1, 2])


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def cross_entropy(scores: list[float], right: int) -> float:
    return math.log(sum(math.exp(s - scores[right]) for s in scores))


@pytest.mark.parametrize("temperature", [0.5, 0.1])
def test_nt_xent_counts_the_positive_once_and_itself_never(temperature: float) -> None:
    z = [*Z1.tolist(), *Z2.tolist()]
    expected = []
    for i in range(10):
        others = [k for k in range(10) if k != i]
        scores = [cosine(z[i], z[k]) / temperature for k in others]
        expected.append(cross_entropy(scores, others.index((i + 5) % 10)))
    close(losses.nt_xent(Z1, Z2, temperature=temperature), expected)
    slopes_agree(lambda a, b: losses.nt_xent(a, b, temperature=temperature), Z1, Z2)


def test_the_gradient_of_nt_xent_has_one_of_its_own() -> None:
    def loss(a: Tensor, b: Tensor) -> Tensor:
        return losses.nt_xent(a, b)

    assert torch.autograd.gradgradcheck(loss, (Z1, Z2))


def test_one_pair_alone_gives_nothing() -> None:
    value, gradients = finite(losses.nt_xent, Z1[:1], Z2[:1])
    assert value.tolist() == [0, 0]
    assert not any(gradient.any() for gradient in gradients)


def test_nt_xent_taught_with_the_positive_twice_has_a_floor_of_ln_2() -> None:
    z = torch.eye(4)
    assert losses.nt_xent(z, z, temperature=0.01).max() < 1e-6
    scores = torch.cat([z, z]) @ torch.cat([z, z]).T / 0.01
    positive = scores.diagonal(4).repeat(2)[:, None]
    own = scores.fill_diagonal_(-torch.inf)
    taught = F.cross_entropy(torch.cat([positive, own], 1), torch.zeros(8).long())
    assert taught.item() == pytest.approx(math.log(2))


def test_without_the_diagonal_the_label_is_shifted_for_the_first_half() -> None:
    z = F.normalize(torch.cat([Z1, Z2])).detach()
    scores = z @ z.T / 0.5
    rows = torch.stack([torch.cat([scores[i, :i], scores[i, i + 1 :]]) for i in range(10)])
    label = torch.tensor([i + 5 - 1 if i < 5 else i - 5 for i in range(10)])
    close(losses.nt_xent(Z1, Z2), F.cross_entropy(rows, label, reduction="none"))


def test_nt_xent_learns_where_the_positive_is_farthest() -> None:
    """In float32, where subtracting the positive's similarity first would overflow."""
    z1 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.01]])
    value, (gradient, _) = finite(lambda a, b: losses.nt_xent(a, b, temperature=0.01), z1, -z1)
    exact = losses.nt_xent(z1.double(), -z1.double(), temperature=0.01)
    close(value, exact, rtol=1e-5)
    assert value.max() > 190
    assert gradient.any()


@pytest.mark.parametrize("given", [False, True])
def test_info_nce_in_one_direction(given: bool) -> None:
    negatives = numbers(3, 4, seed=8) if given else None
    expected = []
    for i, query in enumerate(Z1.tolist()):
        if negatives is None:
            scores = [cosine(query, p) / 0.07 for p in Z2.tolist()]
            expected.append(cross_entropy(scores, i))
        else:
            rest = [cosine(query, n) / 0.07 for n in negatives.tolist()]
            expected.append(cross_entropy([cosine(query, Z2[i].tolist()) / 0.07, *rest], 0))
    close(losses.info_nce(Z1, Z2, negatives), expected)
    slopes_agree(lambda a, b: losses.info_nce(a, b, negatives, temperature=0.5), Z1, Z2)


def test_no_negatives_give_nothing() -> None:
    value, _ = finite(losses.info_nce, Z1, Z2, torch.empty(0, 4, dtype=torch.float64))
    assert not value.any()


def test_clip_averages_both_directions() -> None:
    scores = [[14.2857 * cosine(a, b) for b in Z2.tolist()] for a in Z1.tolist()]
    expected = [
        (cross_entropy(scores[i], i) + cross_entropy([row[i] for row in scores], i)) / 2
        for i in range(5)
    ]
    close(losses.clip(Z1, Z2, 14.2857), expected)
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    slopes_agree(losses.clip, Z1, Z2, scale)


def supcon(s: list[list[float]], i: int, same: list[int], other: list[int]) -> float | None:
    if not same:
        return None
    total = math.log(sum(math.exp(s[i][k] / 0.1) for k in same + other))
    return sum(total - s[i][p] / 0.1 for p in same) / len(same)


def circle(s: list[list[float]], i: int, same: list[int], other: list[int]) -> float | None:
    if not same or not other:
        return None
    m, gamma = 0.25, 64
    pull = sum(math.exp(-gamma * max(0, 1 + m - s[i][p]) * (s[i][p] - 1 + m)) for p in same)
    push = sum(math.exp(gamma * max(0, s[i][n] + m) * (s[i][n] - m)) for n in other)
    return math.log(1 + pull * push)


def multi_similarity(s: list[list[float]], i: int, same: list[int], other: list[int]) -> float:
    pull = sum(math.exp(-2 * (s[i][p] - 0.5)) for p in same)
    push = sum(math.exp(50 * (s[i][n] - 0.5)) for n in other)
    return math.log(1 + pull) / 2 + math.log(1 + push) / 50


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (losses.supcon, supcon),
        (losses.circle, circle),
        (losses.multi_similarity, multi_similarity),
    ],
)
def test_losses_of_labels_by_their_definitions(
    loss: Callable[..., Any], formula: Callable[..., float | None]
) -> None:
    z, labels = EMBEDDINGS.tolist(), LABELS.tolist()
    s = [[cosine(a, b) for b in z] for a in z]
    expected = []
    for i in range(7):
        same = [k for k in range(7) if k != i and labels[k] == labels[i]]
        other = [k for k in range(7) if labels[k] != labels[i]]
        expected.append(formula(s, i, same, other))
    given = loss(EMBEDDINGS, LABELS)
    values, counts = given if isinstance(given, tuple) else (given, torch.ones(7).bool())
    assert counts.tolist() == [value is not None for value in expected]
    close(values[counts], [value for value in expected if value is not None])


def test_gradients_of_losses_of_labels() -> None:
    slopes_agree(lambda z: masked_mean(*losses.supcon(z, LABELS)), EMBEDDINGS)
    slopes_agree(lambda z: losses.multi_similarity(z, LABELS), EMBEDDINGS)


def test_circles_factors_have_no_gradient() -> None:
    z = EMBEDDINGS
    (ours,) = torch.autograd.grad(masked_mean(*losses.circle(z, LABELS)), z)
    unit = F.normalize(z)
    s = unit @ unit.T
    total, anchors = torch.zeros((), dtype=torch.float64), 0
    fixed = s.detach()
    for i in range(7):
        same = [k for k in range(7) if k != i and LABELS[k] == LABELS[i]]
        other = [k for k in range(7) if LABELS[k] != LABELS[i]]
        if same and other:
            pull = torch.exp(-64 * (1.25 - fixed[i, same]).clamp(0) * (s[i, same] - 0.75)).sum()
            push = torch.exp(64 * (fixed[i, other] + 0.25).clamp(0) * (s[i, other] - 0.25)).sum()
            total, anchors = total + torch.log(1 + pull * push), anchors + 1
    (expected,) = torch.autograd.grad(total / anchors, z)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("loss", [losses.supcon, losses.circle])
def test_no_positives_at_all_give_zero_joined_to_the_graph(loss: Callable[..., Any]) -> None:
    for labels in (ALONE, torch.empty(0).long()):
        z = EMBEDDINGS[: len(labels)].float()
        value, (gradient,) = finite(lambda z, labels=labels: masked_mean(*loss(z, labels)), z)
        assert value.item() == 0
        assert not gradient.any()


def test_circle_needs_negatives_too() -> None:
    value, _ = finite(
        lambda z: masked_mean(*losses.circle(z, torch.zeros(3))), EMBEDDINGS[:3].float()
    )
    assert value.item() == 0


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e4])
def test_any_length_of_vector_is_finite(scale: float) -> None:
    z1, z2, z = Z1.float() * scale, Z2.float() * scale, EMBEDDINGS.float() * scale
    finite(losses.nt_xent, z1, z2)
    finite(losses.nt_xent, z1, z1)
    finite(losses.info_nce, z1, z2)
    finite(losses.clip, z1, z2)
    for loss in (losses.supcon, losses.circle):
        finite(lambda z, loss=loss: masked_mean(*loss(z, LABELS)), z)
    finite(lambda z: losses.multi_similarity(z, LABELS), z)
    finite(lambda z, w: arcface(z, w, LABELS), z, z1)
    finite(lambda z, w: cosface(z, w, LABELS), z, z1)


def margin_softmax(z: Tensor, w: Tensor, y: Tensor, raised: Callable[[float], float]) -> Any:
    values = []
    for vector, label in zip(z.tolist(), y.tolist(), strict=True):
        cosines = [cosine(vector, c) for c in w.tolist()]
        scores = [64 * (raised(c) if k == label else c) for k, c in enumerate(cosines)]
        values.append(cross_entropy(scores, label))
    return values


@pytest.mark.parametrize("margin", [0.5, 2.0])
def test_arcface_by_its_angles(margin: float) -> None:
    z, w, y = numbers(9, 3), numbers(4, 3, seed=1), classes(4, 9)

    def raised(cos: float) -> float:
        angle = math.acos(cos)
        if angle > math.pi - margin:
            return cos - margin * math.sin(margin)
        return math.cos(angle + margin)

    close(arcface(z, w, y, margin=margin), margin_softmax(z, w, y, raised), rtol=1e-9)
    slopes_agree(lambda z, w: arcface(z, w, y, margin=margin, scale=4.0), z, w)


def test_both_sides_of_arcfaces_bend_are_tested() -> None:
    cos = F.cosine_similarity(numbers(9, 3), numbers(4, 3, seed=1)[classes(4, 9)])
    beyond = cos < -math.cos(2.0)
    assert beyond.any()
    assert not beyond.all()


def test_cosface_by_its_cosines() -> None:
    z, w, y = numbers(9, 3), numbers(4, 3, seed=1), classes(4, 9)
    close(cosface(z, w, y), margin_softmax(z, w, y, lambda c: c - 0.35))
    slopes_agree(lambda z, w: cosface(z, w, y, scale=4.0), z, w)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_arcface_at_the_centre_and_opposite_is_finite(dtype: torch.dtype) -> None:
    w = torch.eye(3, dtype=dtype) + 0.1
    y = torch.tensor([0, 1, 2])
    finite(lambda z, w: arcface(z, w, y), 3 * w, w)
    finite(lambda z, w: arcface(z, w, y), -3 * w, w)
