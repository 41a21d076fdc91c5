"""Losses of pairs and triplets."""

import math

import pytest
import torch
from tests.worker.losses.functional.helpers import close, finite, numbers, slopes_agree
from torch.nn import functional as F

from talweg.worker.losses.functional.embedding import pairs
from talweg.worker.losses.functional.embedding.pairs import Distance

A, B, C = numbers(6, 3), numbers(6, 3, seed=1), numbers(6, 3, seed=2)
KINDS: list[Distance] = ["euclidean", "sqeuclidean", "cosine"]
DTYPES = [torch.float16, torch.float32, torch.float64]


def distance(a: list[float], b: list[float], kind: str) -> float:
    if kind == "cosine":
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return 1 - dot / math.hypot(*a) / math.hypot(*b)
    d = math.dist(a, b)
    return d * d if kind == "sqeuclidean" else d


def test_contrastive_is_hadsells() -> None:
    similar = torch.tensor([1, 0, 1, 0, 0, 1])
    expected = []
    for a, b, y in zip(A.tolist(), (B / 2).tolist(), similar.tolist(), strict=True):
        d = math.dist(a, b)
        expected.append((d * d if y else max(0, 1.5 - d) ** 2) / 2)
    close(pairs.contrastive(A, B / 2, similar, margin=1.5), expected)
    slopes_agree(lambda a, b: pairs.contrastive(a, b / 2, similar, margin=1.5), A, B)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_triplet_by_its_definition(kind: Distance, swap: bool) -> None:
    expected = []
    for a, p, n in zip(A.tolist(), B.tolist(), C.tolist(), strict=True):
        far = distance(a, n, kind)
        if swap:
            far = min(far, distance(p, n, kind))
        expected.append(max(0, distance(a, p, kind) - far + 0.2))
    assert 0 < sum(value > 0 for value in expected) < 6
    close(pairs.triplet(A, B, C, margin=0.2, kind=kind, swap=swap), expected)
    slopes_agree(lambda *x: pairs.triplet(*x, margin=0.2, kind=kind, swap=swap), A, B, C)


def test_torch_agrees() -> None:
    sign = torch.tensor([1, -1, 1, -1, -1, 1])
    close(
        pairs.cosine_embedding(A, B, sign, margin=0.1),
        F.cosine_embedding_loss(A, B, sign, margin=0.1, reduction="none").detach(),
        rtol=1e-10,
        atol=1e-10,
    )
    slopes_agree(lambda a, b: pairs.cosine_embedding(a, b, sign, margin=0.1), A, B)
    one, other = A[:, 0].detach().requires_grad_(), B[:, 0].detach().requires_grad_()
    close(
        pairs.margin_ranking(one, other, sign, margin=0.5),
        F.margin_ranking_loss(one, other, sign, margin=0.5, reduction="none").detach(),
    )
    slopes_agree(lambda a, b: pairs.margin_ranking(a, b, sign, margin=0.5), one, other)
    close(pairs.triplet(A, B, C), F.triplet_margin_loss(A, B, C, eps=0, reduction="none").detach())


def test_negative_cosine_moves_the_first_alone() -> None:
    close(pairs.negative_cosine(A, B), -F.cosine_similarity(A, B).detach(), rtol=1e-9)
    gradients = torch.autograd.grad(pairs.negative_cosine(A, B).sum(), [A, B], allow_unused=True)
    assert gradients[0].any()
    assert gradients[1] is None
    slopes_agree(lambda a: pairs.negative_cosine(a, B), A)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_at_no_distance_is_zero(kind: Distance, dtype: torch.dtype) -> None:
    same = torch.ones(2, 3, dtype=dtype)
    value, gradients = finite(lambda a, p, n: pairs.triplet(a, p, n, kind=kind), same, same, same)
    close(value, [1.0, 1.0], atol=1e-3)
    for gradient in gradients:
        close(gradient, torch.zeros(2, 3), atol=1e-6 if dtype is torch.float32 else 1e-3)
    for similar in (0, 1):
        _, gradients = finite(
            lambda a, b, y=similar: pairs.contrastive(a, b, torch.full((2,), y)), same, same
        )
        assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_vectors_without_direction_give_finite_gradients(dtype: torch.dtype) -> None:
    nothing, something = torch.zeros(2, 3, dtype=dtype), torch.ones(2, 3, dtype=dtype)
    sign = torch.tensor([1, -1])
    for one, other in ((nothing, something), (something, nothing), (nothing, nothing)):
        value, _ = finite(lambda a, b: pairs.cosine_embedding(a, b, sign), one, other)
        assert value.tolist() == [1, 0]
        finite(pairs.negative_cosine, one, other)


def test_the_gradient_at_the_hinge_is_zero() -> None:
    x = torch.tensor([2.0, 2.0])
    _, gradients = finite(lambda a, b: pairs.margin_ranking(a, b, torch.tensor([1, -1])), x, x)
    assert not any(gradient.any() for gradient in gradients)
    _, (gradient,) = finite(
        lambda a: pairs.contrastive(a, torch.zeros(1, 1), torch.zeros(1)), torch.ones(1, 1)
    )
    assert not gradient.any()


def test_far_vectors_stay_finite() -> None:
    far = torch.full((2, 3), 1e4)
    for kind in KINDS:
        finite(lambda *x, k=kind: pairs.triplet(*x, kind=k), far, -far, far * 0.9)
    finite(lambda a, b: pairs.contrastive(a, b, torch.tensor([0, 1])), far, -far)


def test_no_pairs_are_no_trouble() -> None:
    empty = torch.empty(0, 3)
    finite(lambda a, b: pairs.contrastive(a, b, torch.empty(0)), empty, empty)
    finite(pairs.triplet, empty, empty, empty)
    finite(pairs.negative_cosine, empty, empty)
