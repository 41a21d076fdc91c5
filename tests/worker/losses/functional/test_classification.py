"""logit_adjusted, ldam, coral, corn, distillation and ctc."""

import itertools
import math

import pytest
import torch
from tests.worker.losses.functional.helpers import classes, close, finite, numbers, slopes_agree
from torch.nn import functional as F

from talweg.worker.losses.functional import classification as losses

COUNTS = torch.tensor([50, 10, 5, 1])
FAR = torch.tensor([[1e4, -1e4, 0.0, 0.0], [-1e4, 1e4, 0.0, 1e4], [0.0, 0.0, 0.0, 0.0]])


def log_softmax(z: list[float]) -> list[float]:
    top = max(z)
    total = math.log(sum(math.exp(x - top) for x in z)) + top
    return [x - total for x in z]


@pytest.mark.parametrize("tau", [0.0, 1.0, 2.5])
def test_logit_adjusted_adds_the_log_prior(tau: float) -> None:
    pred, target = numbers(5, 4), classes(4, 5)
    expected = []
    for z, y in zip(pred.tolist(), target.tolist(), strict=True):
        shifted = [x + tau * math.log(n / 66) for x, n in zip(z, COUNTS.tolist(), strict=True)]
        expected.append(-log_softmax(shifted)[y])
    close(losses.logit_adjusted(pred, target, COUNTS, tau=tau), expected)
    slopes_agree(lambda z: losses.logit_adjusted(z, target, COUNTS, tau=tau), pred)


def test_logit_adjusted_takes_maps() -> None:
    pred, target = numbers(2, 4, 3), classes(4, 2, 3)
    flat = losses.logit_adjusted(pred.movedim(1, 2).reshape(6, 4), target.flatten(), COUNTS)
    close(losses.logit_adjusted(pred, target, COUNTS), flat.detach().reshape(2, 3))


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0, 4.0]])
def test_ldam_lowers_the_right_class_most_where_it_is_rare(weight: list[float] | None) -> None:
    pred, target = numbers(5, 4).detach().tanh().requires_grad_(), classes(4, 5)
    expected = []
    for z, y in zip(pred.tolist(), target.tolist(), strict=True):
        margin = 0.5 * COUNTS[y].item() ** -0.25 / 1**-0.25
        shifted = [30 * (x - margin * (c == y)) for c, x in enumerate(z)]
        expected.append(-log_softmax(shifted)[y] * (weight[y] if weight else 1))
    factors = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    close(losses.ldam(pred, target, COUNTS, weight=factors), expected)
    slopes_agree(lambda z: losses.ldam(z, target, COUNTS, weight=factors), pred)


def test_coral_adds_up_every_level() -> None:
    pred, target = numbers(6, 3), torch.tensor([0, 1, 2, 3, 1, 0])
    expected = [
        sum(math.log1p(math.exp(-z if y > k else z)) for k, z in enumerate(row))
        for row, y in zip(pred.tolist(), target.tolist(), strict=True)
    ]
    close(losses.coral(pred, target), expected)
    slopes_agree(lambda z: losses.coral(z, target), pred)


def test_corn_uses_the_rows_that_reached_a_level() -> None:
    pred, target = numbers(6, 3), torch.tensor([0, 1, 2, 3, 1, 0])
    total, number = 0.0, 0
    for k in range(3):
        for row, y in zip(pred.tolist(), target.tolist(), strict=True):
            if y >= k:
                total += math.log1p(math.exp(-row[k] if y > k else row[k]))
                number += 1
    values, levels = losses.corn(pred, target)
    assert levels.sum() == number == 6 + 4 + 2
    close(values.sum() / levels.sum(), total / number)
    slopes_agree(lambda z: losses.corn(z, target)[0], pred)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_the_divergence_from_the_teacher(temperature: float) -> None:
    pred, teacher = numbers(5, 4), numbers(5, 4, seed=3)
    expected = []
    for z, t in zip(pred.tolist(), teacher.tolist(), strict=True):
        student = log_softmax([x / temperature for x in z])
        sure = log_softmax([x / temperature for x in t])
        parts = (math.exp(b) * (b - a) for a, b in zip(student, sure, strict=True))
        expected.append(temperature**2 * sum(parts))
    close(losses.distillation(pred, teacher, temperature=temperature), expected)
    slopes_agree(lambda z, t: losses.distillation(z, t, temperature=temperature), pred, teacher)


def test_a_student_that_equals_its_teacher_pays_nothing() -> None:
    value, (gradient, _) = finite(losses.distillation, FAR, FAR)
    assert value.tolist() == [0, 0, 0]
    assert not gradient.any()


def alignments(row: list[list[float]], wanted: list[int]) -> float:
    """-log of the probability of all ways to spell a target, by trying each."""
    total = 0.0
    for path in itertools.product(range(len(row[0])), repeat=len(row)):
        spelt = [c for c, _ in itertools.groupby(path) if c != 0]
        if spelt == wanted:
            total += math.exp(sum(log_softmax(z)[c] for z, c in zip(row, path, strict=True)))
    return -math.log(total) if total else 0.0


def test_ctc_adds_up_all_alignments() -> None:
    pred = numbers(4, 4, 3)
    targets = torch.tensor([[1, 2], [2, 2], [1, 0], [1, 1]])
    lengths, steps = torch.tensor([2, 2, 1, 2]), torch.tensor([4, 4, 3, 2])
    values = losses.ctc(pred, targets, lengths, steps)
    expected = [
        alignments(pred[: steps[n], n].tolist(), targets[n, : lengths[n]].tolist())
        for n in range(4)
    ]
    assert expected[3] == 0, "1, 1 cannot be spelt in two steps"
    close(values, expected)
    slopes_agree(lambda z: losses.ctc(z, targets, lengths, steps), pred)
    mean = sum(v / n for v, n in zip(expected, [2, 2, 1, 2], strict=True)) / 4
    close(losses.ctc_mean(values, lengths), mean)


def test_ctc_mean_is_torchs() -> None:
    pred, targets = numbers(9, 3, 5), classes(4, 3, 4) + 1
    lengths, steps = torch.tensor([4, 2, 3]), torch.tensor([9, 8, 9])
    ours = losses.ctc_mean(losses.ctc(pred, targets, lengths, steps), lengths)
    close(ours, F.ctc_loss(pred.log_softmax(2), targets, steps, lengths).detach())


def test_an_impossible_or_empty_target_and_extreme_logits_stay_finite() -> None:
    pred = torch.zeros(3, 3, 4)
    pred[:, 0], pred[:, 1, 1] = 1e4 * torch.eye(4)[0], -1e4
    lengths, steps = torch.tensor([2, 3, 0]), torch.tensor([3, 2, 3])
    targets = torch.tensor([[1, 2, 0], [1, 1, 1], [0, 0, 0]])
    value, (gradient,) = finite(lambda z: losses.ctc(z, targets, lengths, steps), pred)
    assert value[1] == 0
    assert not gradient[:, 1].any()
    assert torch.isfinite(losses.ctc_mean(value, lengths))
    assert losses.ctc_mean(value[:0], lengths[:0]) == 0


def test_extreme_logits_stay_finite() -> None:
    target = torch.tensor([1, 1, 3])
    finite(lambda z: losses.logit_adjusted(z, target, COUNTS), FAR)
    finite(lambda z: losses.ldam(z, target, COUNTS), FAR)
    finite(lambda z: losses.coral(z, target), FAR)
    finite(lambda z: losses.corn(z, target)[0], FAR)
    finite(losses.distillation, FAR, -FAR)
