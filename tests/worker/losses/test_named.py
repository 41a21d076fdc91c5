"""The losses of named inputs against their formulas, at extremes, and with nothing to count."""

from typing import Any

import pytest
import torch
from tests.worker.losses import refused
from tests.worker.losses.cases import slope
from tests.worker.losses.named import Named
from torch import Tensor

from talweg.spec import fill_message, from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import build, evaluate

FAMILIES = refused.FAMILIES
NAMED: list[Named] = [row for family in FAMILIES for row in family.NAMED]
EXTREME = [row for family in FAMILIES for row in family.EXTREME]
EMPTY = {name: row for family in FAMILIES for name, row in family.EMPTY.items()}
EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14}
SMALL = [torch.float16, torch.bfloat16, torch.float32]


def reads_numbers(case: Named) -> bool:
    """Return whether a call would wait for a GPU."""
    if case.loss == "ctc":
        # Its kernel takes lengths as plain numbers.
        return True
    # Soft margins are added up from pair to pair, and the pairs must be known.
    soft = case.loss == "online_triplet" and bool(case.params.get("soft_margin"))
    return soft and case.params["strategy"] != "hard"


# Each part is summed by itself, so that their sum is that of no values.
_SUMMED_BY_PARTS = ("ce_dice", "total_variation")


def has_values(case: Named) -> bool:
    """Return whether the loss can be left unreduced."""
    return "none" in case.reductions and not case.params.get("batch")


@pytest.mark.parametrize("case", NAMED, ids=str)
def test_the_default_reduction_is_that_of_the_formula(case: Named) -> None:
    inputs = case.inputs()

    loss = evaluate(case.spec(), inputs)

    expected = torch.tensor(float(case.mean()), dtype=torch.float64)
    torch.testing.assert_close(loss, expected, **EXACT)
    for name in case.learned:
        gradient = slope(evaluate(case.spec(), inputs), inputs[name])
        torch.testing.assert_close(gradient, case.gradient(name), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("case", [c for c in NAMED if has_values(c)], ids=str)
def test_sum_and_none_are_those_of_the_formula(case: Named) -> None:
    inputs = case.inputs()
    values = evaluate(case.spec("none"), inputs)
    expected = [float(v) for v in case.values()]
    if case.loss == "ctc":
        # Its formula has divided by the lengths already.
        lengths = inputs["target_lengths"].tolist()
        expected = [v * max(n, 1) for v, n in zip(expected, lengths, strict=True)]
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(values.flatten(), wanted, **EXACT)
    module = build(fill_message(from_dict(case.spec(), Loss)))
    torch.testing.assert_close(module.values(inputs), values, rtol=0, atol=0)
    torch.testing.assert_close(evaluate(case.spec("sum"), inputs), wanted.sum(), **EXACT)


@pytest.mark.parametrize(
    "case",
    [c for c in NAMED if c.reductions == ["mean", "sum"] and c.loss not in _SUMMED_BY_PARTS],
    ids=str,
)
def test_the_sum_of_a_pooled_loss_is_that_of_the_formula(case: Named) -> None:
    inputs = case.inputs()
    total = torch.tensor(float(sum(case.values())), dtype=torch.float64)
    torch.testing.assert_close(evaluate(case.spec("sum"), inputs), total, **EXACT)
    module = build(fill_message(from_dict(case.spec(), Loss)))
    with pytest.raises(ValueError, match="no values by sample"):
        module.values(inputs)
    with pytest.raises(ValueError, match='reduction: found "none"; allowed one of mean, sum'):
        evaluate(case.spec("none"), inputs)


@pytest.mark.parametrize("case", [c for c in NAMED if not c.detached], ids=str)
def test_the_gradient_is_that_of_the_value(case: Named) -> None:
    inputs = case.inputs()
    module = build(fill_message(from_dict(case.spec(), Loss)))

    def loss(*learned: Tensor) -> Tensor:
        return module({**inputs, **dict(zip(case.learned, learned, strict=True))})

    # Along one direction drawn at random: the formula has been asked for each element above.
    learned = [inputs[name] for name in case.learned]
    assert torch.autograd.gradcheck(loss, learned, fast_mode=True)


@pytest.mark.parametrize("dtype", SMALL, ids=str)
@pytest.mark.parametrize("case", NAMED, ids=str)
def test_small_floats_are_computed_in_float32(case: Named, dtype: torch.dtype) -> None:
    inputs = case.inputs(dtype)
    wide = {n: t.detach().double() if t.is_floating_point() else t for n, t in inputs.items()}

    loss = evaluate(case.spec(), inputs)

    assert loss.dtype is torch.float32
    assert slope(loss, inputs[case.learned[0]]).dtype is dtype
    # The rounded inputs, computed exactly: cosines times 30 keep a few digits less.
    torch.testing.assert_close(loss.double(), evaluate(case.spec(), wide), rtol=4e-6, atol=4e-6)


@pytest.mark.parametrize("case", NAMED, ids=str)
def test_a_call_leaves_its_inputs_as_they_were(case: Named) -> None:
    inputs = case.inputs()
    before = {name: tensor.detach().clone() for name, tensor in inputs.items()}
    evaluate(case.spec(), inputs)
    assert all(torch.equal(inputs[name], before[name]) for name in before)


@pytest.mark.parametrize("case", [c for c in NAMED if not reads_numbers(c)], ids=str)
def test_a_call_reads_no_number(case: Named) -> None:
    """Tensors without content show any wait for a GPU: reading one raises."""
    module = build(fill_message(from_dict(case.spec(), Loss))).to("meta")
    inputs = {name: tensor.to("meta") for name, tensor in case.inputs().items()}
    assert module(inputs).shape == ()


@pytest.mark.parametrize("case", {case.loss: case for case in NAMED}.values(), ids=str)
def test_messages_and_json_are_the_same_loss(case: Named) -> None:
    inputs = case.inputs()
    message = from_dict(case.spec(), Loss)
    expected = evaluate(case.spec(), inputs)
    assert evaluate(message, inputs).item() == expected.item()
    assert evaluate(fill_message(message), inputs).item() == expected.item()
    assert message == from_dict(case.spec(), Loss), "evaluate must not change its message"
    if not case.params:
        assert evaluate(case.loss, inputs).item() == expected.item()


@pytest.mark.parametrize("dtype", [*SMALL, torch.float64], ids=str)
@pytest.mark.parametrize(("loss", "params", "inputs"), EXTREME)
def test_values_and_gradients_are_finite_and_right(
    loss: str, params: dict[str, Any], inputs: dict[str, Tensor], dtype: torch.dtype
) -> None:
    given = {
        name: t.to(dtype).requires_grad_() if t.is_floating_point() else t
        for name, t in inputs.items()
    }
    spec = {loss: {**params, "reduction": "sum"}}

    value = evaluate(spec, given)

    assert torch.isfinite(value)
    learned = [t for t in given.values() if t.requires_grad]
    gradients = torch.autograd.grad(value, learned, allow_unused=True)
    for gradient in gradients:
        assert gradient is None or torch.isfinite(gradient).all()
    wide = {n: t.detach().double() if t.is_floating_point() else t for n, t in given.items()}
    torch.testing.assert_close(value.double(), evaluate(spec, wide), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_count_costs_nothing(name: str) -> None:
    loss, inputs = EMPTY[name]
    given = {
        n: t.clone().requires_grad_() if t.is_floating_point() else t for n, t in inputs.items()
    }
    value = evaluate(loss, given)
    assert value.item() == 0
    learned = [t for t in given.values() if t.requires_grad]
    for gradient in torch.autograd.grad(value, learned, allow_unused=True):
        assert gradient is None or not gradient.any()
