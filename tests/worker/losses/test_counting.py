"""Weights and counts of classes from how often each is seen, and the functions beside losses."""

from typing import Any

import pytest
import torch
from tests.worker.losses.cases import slope
from torch import nn

from talweg.spec import SpecError, fill_message, from_dict, to_dict
from talweg.v1.losses_pb2 import ClassWeights, Loss
from talweg.worker import losses
from talweg.worker.losses import ClassCounts, class_weights, gradient_penalty, with_counts

COUNTS = [60, 30, 10]


def test_balanced_weights_make_every_class_weigh_the_same() -> None:
    weights = class_weights(COUNTS)
    assert weights.dtype is torch.float64
    # N / (C n): 100 / (3 · 60) and so on.
    assert weights.tolist() == pytest.approx([100 / 180, 100 / 90, 100 / 30], rel=1e-15)
    assert (weights * torch.tensor(COUNTS)).tolist() == pytest.approx([100 / 3] * 3)


def test_effective_numbers_sum_to_the_number_of_classes() -> None:
    weights = class_weights(torch.tensor(COUNTS), {"effective_number": {"beta": 0.9}})
    raw = [(1 - 0.9) / (1 - 0.9**n) for n in COUNTS]
    assert weights.tolist() == pytest.approx([3 * w / sum(raw) for w in raw], rel=1e-13)
    alike = class_weights(COUNTS, {"effective_number": {"beta": 0}})
    assert alike.tolist() == [1, 1, 1]


def test_forms_of_weights() -> None:
    assert class_weights(COUNTS, [1, 2, 3]).tolist() == [1, 2, 3]
    assert class_weights(COUNTS, {"values": [1, 2, 3]}).tolist() == [1, 2, 3]
    message = from_dict("effective_number", ClassWeights)
    given = class_weights(COUNTS, message).tolist()
    assert given == class_weights(COUNTS, {"effective_number": {"beta": 0.999}}).tolist()


def test_a_class_that_is_never_seen_weighs_nothing() -> None:
    for way in ("balanced", "effective_number"):
        weights = class_weights([10, 0, 10], way)
        assert weights[1] == 0
        assert weights[0] == weights[2] > 0
    assert class_weights([0, 0]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("counts", "weights", "message"),
    [
        ([1, -2], "balanced", "counts must be at least 0, but got -2"),
        ([1, float("nan")], "balanced", "counts must be at least 0, but got nan"),
        ([[1, 2]], "balanced", r"1 dimension \(C,\), but got shape \(1, 2\)"),
        ([1, 2], [1, 2, 3], "weights must have one value per class, 2, but got 3"),
        ([1, 2], {"effective_number": {"beta": 1}}, "weights.effective_number.beta.* < 1"),
        ([1, 2], {"balanced": {}, "values": [1, 2]}, "values and balanced"),
        ([1, 2], "ballanced", "weights"),
    ],
)
def test_wrong_counts_and_weights(counts: Any, weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_weights(counts, weights)


def resolved(loss: Any, seen: tuple[int, ...], unseen: tuple[int, ...] = ()) -> Any:
    message = fill_message(from_dict(loss, Loss))
    before = Loss.FromString(message.SerializeToString())
    result = with_counts(message, ClassCounts(seen, unseen))
    assert message == before, "the loss that is given stays as it is"
    return to_dict(result)


def test_what_is_computed_becomes_values() -> None:
    (ce,) = resolved({"cross_entropy": {"weight": "balanced"}}, (60, 30, 10)).values()
    assert ce["weight"] == {"values": class_weights(COUNTS).tolist()}
    (focal,) = resolved({"focal": {"alpha": "effective_number"}}, (60, 30, 10)).values()
    assert focal["alpha"] == {"values": class_weights(COUNTS, "effective_number").tolist()}


def test_what_is_given_stays() -> None:
    loss = {"cross_entropy": {"weight": [3, 2, 1]}}
    assert resolved(loss, (60, 30, 10)) == to_dict(fill_message(from_dict(loss, Loss)))
    (ldam,) = resolved({"ldam": {"class_counts": [1, 2, 3]}}, (60, 30, 10)).values()
    assert ldam["class_counts"] == [1, 2, 3]


def test_counts_come_from_the_split_and_a_class_never_seen_counts_once() -> None:
    for name in ("logit_adjusted", "ldam"):
        (loss,) = resolved(name, (60, 0, 10)).values()
        assert loss["class_counts"] == [60, 1, 10]


def test_the_weight_of_yes_is_against_no() -> None:
    loss: Any = {"bce_with_logits": {"pos_weight": "balanced"}}
    (bce,) = resolved(loss, (10, 30, 0, 40), (30, 10, 40, 0)).values()
    # A label that is always or never there has nothing to be weighed against.
    assert bce["pos_weight"]["values"] == pytest.approx([3, 1 / 3, 1, 1], rel=1e-15)
    loss = {"bce_with_logits": {"pos_weight": {"effective_number": {"beta": 0.9}}}}
    (bce,) = resolved(loss, (10,), (30,)).values()
    expected = (1 - 0.9**30) / (1 - 0.9**10)
    assert bce["pos_weight"]["values"] == pytest.approx([expected], rel=1e-13)


def test_terms_of_sums_are_resolved_too() -> None:
    inner = {"sum": {"terms": [{"loss": {"cross_entropy": {"weight": "balanced"}}}]}}
    given = resolved({"sum": {"terms": [{"loss": inner}, {"loss": "poly1"}]}}, (60, 30, 10))
    deep = given["sum"]["terms"][0]["loss"]["sum"]["terms"][0]["loss"]["cross_entropy"]
    assert deep["weight"]["values"] == class_weights(COUNTS).tolist()


def test_the_penalty_is_zero_where_the_slope_is_one() -> None:
    critic = nn.Linear(2, 1, bias=False)
    real, fake, interp = torch.randn(3, 2), torch.randn(3, 2), torch.rand(3)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[0.6, 0.8]]))
    assert gradient_penalty(critic, real, fake, interp).item() == pytest.approx(0, abs=1e-12)
    with torch.no_grad():
        critic.weight.mul_(3)
    penalty = gradient_penalty(critic, real, fake, interp)
    assert penalty.item() == pytest.approx(10 * (3 - 1) ** 2, rel=1e-6)
    assert gradient_penalty(critic, real, fake, interp, 1).item() == pytest.approx(4, rel=1e-6)
    # d/dw of 10 (|w| - 1)² is 20 (|w| - 1) w / |w|.
    assert slope(penalty, critic.weight)[0].tolist() == pytest.approx([24, 32], rel=1e-5)


X = torch.rand(3, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fake": X[:2]}, r"fake must have the shape of real, \(3, 2\), but got \(2, 2\)"),
        (
            {"interp": X[:, :1]},
            r"interp must have one fraction per sample, \(3,\), but got \(3, 1\)",
        ),
        ({"interp": X[:, 0] + 2}, "interp must be between 0 and 1, but got 2"),
        ({"real": X.long()}, "real must be floating point"),
        ({"weight": -1.0}, "weight must be >= 0, but got -1"),
        (
            {"real": X[0, 0], "fake": X[0, 0]},
            r"real must have at least 1 dimension \(N, …\), but got shape \(\)",
        ),
    ],
)
def test_a_penalty_of_wrong_samples_is_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"real": X, "fake": X, "interp": X[:, 0], **change}
    with pytest.raises(ValueError, match=message):
        gradient_penalty(lambda x: x.sum(1), **given)


def test_public_names() -> None:
    assert sorted(losses.__all__) == [
        "ClassCounts", "LossModule", "OwnLoss", "Part", "Perceptual", "Sum", "build",
        "class_weights",
        "clip_by_global_norm", "clip_by_value", "evaluate", "frozen_digests", "gradient_penalty",
        "with_counts",
    ]  # fmt: skip
    for name in losses.__all__:
        assert getattr(losses, name).__doc__


def test_bounds_of_weights_are_those_of_a_spec() -> None:
    with pytest.raises(SpecError):
        class_weights([1, 2], [-1, 2])
