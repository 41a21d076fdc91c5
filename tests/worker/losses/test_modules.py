"""What training asks of a loss module: complete, quick, and never waiting for a GPU."""

from typing import Any

import pytest
import torch
from tests.worker.losses import refused, test_degenerate, test_named
from tests.worker.losses.cases import CASES, Case
from tests.worker.losses.named import Named
from tests.worker.losses.test_extremes import EXTREMES
from tests.worker.losses.test_named import NAMED

from talweg.spec import fill_message, from_dict, losses
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import LossModule, build, evaluate
from talweg.worker.losses.registry import BUILDERS

MEMBERS = [field.name for field in Loss.DESCRIPTOR.oneofs_by_name["kind"].fields]


def names(rows: list[Any]) -> set[str]:
    """Return the losses that a table of refusals has rows for."""
    return {row[0] if isinstance(row[0], str) else next(iter(row[0])) for row in rows}


def test_there_is_one_builder_a_loss() -> None:
    assert sorted(BUILDERS) == sorted(MEMBERS)


@pytest.mark.parametrize("member", [m for m in MEMBERS if m not in ("sum", "plugin")])
def test_every_loss_has_a_row_in_every_table(member: str) -> None:
    rows = {case.loss for case in CASES} | {case.loss for case in NAMED}
    assert member in rows, "no formula's value, gradient and gradcheck"
    extremes = {case.loss for case in EXTREMES} | {loss for loss, *_ in test_named.EXTREME}
    assert member in extremes, "no extremes"
    assert member in {*test_degenerate.EMPTY, *test_named.EMPTY}, "no degenerate batch"
    # What a discriminator gives has any shape, and real and made samples differ in number.
    assert member in names(refused.SHAPES) or member == "gan", "no refused shape"
    assert member in names(refused.DTYPES), "no refused dtype"


@pytest.mark.parametrize("member", MEMBERS)
def test_every_loss_has_its_facts_and_documentation(member: str) -> None:
    (entry,) = [loss for loss in losses() if loss.name == member]
    assert entry.facts.tasks
    assert entry.facts.when
    assert entry.facts.reference
    assert entry.facts.inputs
    assert len(entry.description) > 3


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_call_reads_no_number(case: Case) -> None:
    """Tensors without content show any wait for a GPU: reading one raises."""
    module = build(fill_message(from_dict(case.spec(), Loss))).to("meta")
    inputs = {name: tensor.to("meta") for name, tensor in case.inputs().items()}
    assert module(inputs).shape == ()
    assert module.values(inputs).device.type == "meta"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_call_leaves_its_inputs_as_they_were(case: Case) -> None:
    inputs = case.inputs()
    before = {name: tensor.detach().clone() for name, tensor in inputs.items()}
    evaluate(case.spec(), inputs)
    assert all(torch.equal(inputs[name], before[name]) for name in before)


EVERYTHING: list[Case | Named] = [*CASES, *NAMED]
FORMULAS = [case for case in EVERYTHING if case.loss != "expression"]


@pytest.mark.parametrize("case", FORMULAS, ids=str)
def test_a_prediction_of_nan_gives_nan(case: Case | Named) -> None:
    """A run that has diverged must not look like a perfect one."""
    module = build(fill_message(from_dict(case.spec(), Loss)))
    inputs = case.inputs()
    name = case.learned[0] if isinstance(case, Named) else "pred"
    assert module({**inputs, name: torch.full_like(inputs[name], torch.nan)}).isnan()


# Parameters that have no default, or whose default is a network that the operator keeps.
DEMANDING = (
    "perceptual",
    "sum",
    "multi_quantile",
    "logit_adjusted",
    "ldam",
    "uncertainty",
    "curriculum",
    "expression",
    "plugin",
)


@pytest.mark.parametrize("member", [m for m in MEMBERS if m not in DEMANDING])
def test_messages_json_and_bare_names_are_the_same_loss(member: str) -> None:
    case = next(case for case in EVERYTHING if case.loss == member and not case.params)
    inputs = case.inputs()
    message = from_dict(member, Loss)
    expected = evaluate(message, inputs)
    assert evaluate(member, inputs).item() == expected.item()
    assert evaluate({member: {}}, inputs).item() == expected.item()
    assert evaluate(fill_message(message), inputs).item() == expected.item()
    assert message == from_dict(member, Loss), "evaluate must not change the message it is given"


def test_losses_copy_and_move() -> None:
    module = build(from_dict({"cross_entropy": {"weight": [1, 2]}}, Loss))
    assert isinstance(module, LossModule)
    pred, target = torch.randn(3, 2, dtype=torch.float64), torch.tensor([0, 1, 1])
    before = module({"pred": pred, "target": target})
    after = module.to(torch.float32)({"pred": pred, "target": target})
    assert after.dtype is torch.float64
    torch.testing.assert_close(before, after)
