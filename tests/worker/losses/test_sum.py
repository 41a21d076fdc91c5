"""The weighted sum of losses."""

from typing import Any

import pytest
import torch
from tests.worker.losses.cases import slope

from talweg.spec import from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import Sum, build, evaluate


def sum_of(*terms: tuple[Any, float | None]) -> dict[str, Any]:
    """Return the JSON form of a sum."""
    rows = [{"loss": loss} | ({} if w is None else {"weight": w}) for loss, w in terms]
    return {"sum": {"terms": rows}}


PRED = torch.tensor([2.5, 0.0, 2.1, 7.8], dtype=torch.float64, requires_grad=True)
TARGET = torch.tensor([3.0, -0.5, 2.0, 8.0], dtype=torch.float64)
INPUTS = {"pred": PRED, "target": TARGET}


def test_terms_count_by_their_weight_and_one_without() -> None:
    loss = evaluate(sum_of(("mse", 2.0), ("mae", None)), INPUTS)
    assert loss.item() == pytest.approx(2 * 0.1375 + 0.325, rel=1e-12)
    expected = 2 * 2 * (PRED - TARGET) / 4 + (PRED - TARGET).sign() / 4
    torch.testing.assert_close(slope(loss, PRED), expected)


def test_a_weight_of_zero_counts_for_nothing() -> None:
    loss = evaluate(sum_of(("mse", 0.0), ("mae", 1.0)), INPUTS)
    assert loss.item() == pytest.approx(0.325)


def test_each_term_is_reduced_in_its_own_way() -> None:
    loss = evaluate(sum_of(({"mse": {"reduction": "sum"}}, 1.0), ("mae", 1.0)), INPUTS)
    assert loss.item() == pytest.approx(4 * 0.1375 + 0.325)


def test_sums_nest() -> None:
    loss = evaluate(sum_of((sum_of(("mse", 2.0), ("mae", 1.0)), 0.5), ("mae", 1.0)), INPUTS)
    assert loss.item() == pytest.approx(0.5 * (0.275 + 0.325) + 0.325)


def test_term_values_are_unweighted_scalars_in_order() -> None:
    module = build(from_dict(sum_of(("mse", 2.0), ("mae", 5.0)), Loss))
    assert isinstance(module, Sum)
    values = module.term_values(INPUTS)
    assert [v.item() for v in values] == pytest.approx([0.1375, 0.325])


def test_values_are_the_weighted_values_of_the_terms() -> None:
    module = build(from_dict(sum_of(("mse", 2.0), ("mae", 1.0)), Loss))
    error = PRED - TARGET
    torch.testing.assert_close(module.values(INPUTS), 2 * error**2 + error.abs())


def test_unreduced_terms_add_up_by_element() -> None:
    none = {"reduction": "none"}
    loss = evaluate(sum_of(({"mse": none}, 2.0), ({"mae": none}, 1.0)), INPUTS)
    torch.testing.assert_close(loss, 2 * (PRED - TARGET) ** 2 + (PRED - TARGET).abs())


def test_terms_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, but got \[\(4,\), \(\)\]"):
        evaluate(sum_of(({"mse": {"reduction": "none"}}, 1.0), ("mae", 1.0)), INPUTS)


def test_a_sum_takes_the_union_of_its_terms_inputs() -> None:
    names = ("cross_entropy", "poly1")
    module = build(from_dict(sum_of(*((name, 1.0) for name in names)), Loss))
    assert module.input_names == ("pred", "target")
    assert module.optional_names == ("target_prob",)
    pred, target = torch.randn(3, 4), torch.tensor([0, 3, 1])
    loss = module({"pred": pred, "target": target})
    parts = [evaluate(loss, {"pred": pred, "target": target}) for loss in names]
    torch.testing.assert_close(loss, parts[0] + parts[1])
    module = build(from_dict(sum_of(("cross_entropy", 1.0)), Loss))
    prob = torch.softmax(torch.randn(3, 4), 1)
    assert module({"pred": pred, "target_prob": prob}).item() > 0


def test_moving_a_sum_moves_the_weights_of_its_terms() -> None:
    spec = sum_of(
        ({"cross_entropy": {"weight": [1, 2]}}, 1.0), ({"focal": {"alpha": [1, 2]}}, 1.0)
    )
    module = build(from_dict(spec, Loss)).to(torch.float32)
    assert {buffer.dtype for buffer in module.buffers()} == {torch.float32}
    assert not module.state_dict()
