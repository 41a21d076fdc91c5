"""Triplets of a batch against loops over all of them."""

import math
from typing import Any

import pytest
import torch
from tests.worker.losses.functional.helpers import classes, close, finite, numbers, slopes_agree
from tests.worker.losses.functional.test_pairs import KINDS, distance
from torch import Tensor

from talweg.worker.losses.functional.embedding.mining import (
    Triplets,
    _hardest,
    _winner,
    online_triplet,
)

Z, LABELS = numbers(9, 3), classes(3, 9)
OPTIONS: list[dict[str, Any]] = [
    {"strategy": strategy, "soft_margin": soft, "normalize": normalize, "margin": margin}
    for strategy in ("hard", "semihard", "all")
    for soft in (False, True)
    for normalize, margin in ((False, 1.0), (True, 0.3))
]


def mean(found: Triplets) -> Tensor:
    return found.total / found.number.clamp(min=1)


def by_loops(
    z: Tensor, labels: Tensor, kind: str, options: dict[str, Any], nonzero: bool
) -> float:
    """Return the mean over triplets, each looked at."""
    if options["normalize"]:
        z = z / z.norm(dim=1, keepdim=True)
    rows, number = z.tolist(), len(z)
    d = [
        [distance(a, b, kind) if i != j else 0 for j, b in enumerate(rows)]
        for i, a in enumerate(rows)
    ]
    margin, losses = options["margin"], []

    def loss(near: float, far: float) -> float:
        return (
            math.log1p(math.exp(near - far))
            if options["soft_margin"]
            else max(0, near - far + margin)
        )

    for a in range(number):
        same = [d[a][p] for p in range(number) if p != a and labels[p] == labels[a]]
        other = [d[a][n] for n in range(number) if labels[n] != labels[a]]
        if options["strategy"] == "hard":
            if same and other:
                losses.append(loss(max(same), min(other)))
            continue
        for near in same:
            for far in other:
                if options["strategy"] == "all" or near < far < near + margin:
                    losses.append(loss(near, far))
    if options["strategy"] == "all" and nonzero:
        losses = [value for value in losses if value > 0]
    return sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize("nonzero", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_triplets_are_those_of_the_loops(
    options: dict[str, Any], kind: Any, nonzero: bool
) -> None:
    found = online_triplet(Z, LABELS, kind=kind, nonzero=nonzero, **options)
    expected = by_loops(Z.detach(), LABELS, kind, options, nonzero)
    assert expected > 0
    close(mean(found), expected, rtol=1e-10)
    slopes_agree(
        lambda z: mean(online_triplet(z, LABELS, kind=kind, nonzero=nonzero, **options)), Z
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_small_floats_keep_near_duplicates_apart(options: dict[str, Any]) -> None:
    """Two far groups of near vectors, whose distances a product in float32 would lose."""
    generator = torch.Generator().manual_seed(3)
    group = torch.arange(40) % 2
    z = torch.randn(40, 8, generator=generator) * 0.004 + group[:, None] * 30
    labels = 3 * group + torch.randint(0, 3, (40,), generator=generator)
    options = {**options, "margin": 0.001, "normalize": False}
    found = mean(online_triplet(z, labels, **options))
    exact = mean(online_triplet(z.double(), labels, **options))
    close(found, exact, rtol=1e-4, atol=1e-9)


def test_measuring_all_distances_exactly_finds_the_same_triplets() -> None:
    """As on a GPU, which is not asked where a product of matrices leaves the winner open."""
    points, labels = Z.detach().float(), LABELS
    same = labels[:, None] == labels
    far, near = _hardest(points, same)
    square = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    assert torch.equal(_winner(square, ~same, points, None, farthest=False), near)
    square.fill_diagonal_(-torch.inf)
    assert torch.equal(_winner(square, same, points, None, farthest=True), far)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("z", "labels"),
    [
        (torch.ones(4, 3), torch.tensor([0, 0, 1, 1])),
        (torch.zeros(4, 3), torch.tensor([0, 0, 1, 1])),
        (1e4 * torch.eye(4, 3), torch.tensor([0, 0, 1, 1])),
    ],
)
def test_collapsed_and_far_vectors_are_finite(
    z: Tensor, labels: Tensor, kind: Any, options: dict[str, Any]
) -> None:
    finite(lambda z: mean(online_triplet(z, labels, kind=kind, **options)), z)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0], [0], []])
def test_no_triplets_give_zero_joined_to_the_graph(
    labels: list[int], options: dict[str, Any]
) -> None:
    z = Z[: len(labels)].detach()
    value, (gradient,) = finite(
        lambda z: mean(online_triplet(z, torch.tensor(labels).long(), **options)), z
    )
    assert value == 0
    assert not gradient.any()


def test_collapsed_vectors_get_no_gradient() -> None:
    _, (gradient,) = finite(
        lambda z: mean(online_triplet(z, torch.tensor([0, 0, 1, 1]))), torch.ones(4, 3)
    )
    assert not gradient.any()
