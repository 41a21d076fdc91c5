"""Every loss trains every task that it fits, formulas too."""

from typing import Any

import pytest
import torch
from tests.worker.training.jobs import DATASETS, flat, job, run, trained

from talweg.v1.jobs_pb2 import Job
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import TaskKind, loss


@pytest.mark.parametrize(
    ("fields", "formula", "params"),
    [
        ({"loss": "mse"}, "(pred - target)**2", {}),
        (
            {"loss": "asymmetric_mse"},
            "where(pred > target, k * (pred - target)**2, (pred - target)**2)",
            {"k": 2.0},
        ),
        (
            {"task": "binary", "dataset": "breast_cancer", "loss": "bce_with_logits"},
            "softplus(pred) - pred * target",
            {},
        ),
        (
            {"task": "multilabel", "dataset": "synthetic_multilabel", "loss": "bce_with_logits"},
            "mean(softplus(pred) - pred * target)",
            {},
        ),
    ],
)
def test_a_formula_trains_as_the_loss_that_it_spells_out(
    fields: dict[str, Any], formula: str, params: dict[str, float]
) -> None:
    own = {"expression": {"formula": formula, "params": params}}
    expected, actual = trained(job(**fields)), trained(job(**{**fields, "loss": own}))
    torch.testing.assert_close(flat(actual), flat(expected), rtol=1e-3, atol=1e-4)


def pairs() -> list[tuple[str, str]]:
    found = []
    for field in Loss.DESCRIPTOR.oneofs_by_name["kind"].fields:
        assert field.message_type is not None
        if field.name == "plugin":
            continue  # What a plug-in trains is its own affair.
        facts = field.message_type.GetOptions().Extensions[loss]
        if not facts.only_evaluated:
            names = [TaskKind.Name(task).lower() for task in facts.tasks]
            found += [(name, field.name) for name in names if name in DATASETS]
    return found


@pytest.mark.parametrize(("task", "name"), pairs())
def test_every_loss_trains_every_task_that_it_fits(task: str, name: str) -> None:
    term = {"regression": "mae", "multiclass": "poly1", "ordinal": "corn"}.get(task, "bce")
    parameters: dict[str, Any] = {}
    if name == "multi_quantile":
        parameters = {"quantiles": [0.1, 0.5, 0.9]}
    elif name == "expression":
        number = "(pred - target)**2"
        parameters = {
            "formula": number if task == "regression" else "softplus(pred) - pred * target"
        }
    elif name == "sum":
        parameters = {"terms": [{"loss": term, "weight": 0.5}, {"loss": term}]}

    def test_loss(rate: float) -> float:
        spec = job(
            task=task,
            dataset=DATASETS[task],
            loss={name: parameters},
            optimizer={"adamw": {"learning_rate": rate}},
            training={"epochs": 8, "evaluate_every_epochs": 8},
        )
        result, report = run(spec)
        assert result.state == Job.SUCCEEDED, result.message
        return report.last("test/loss")

    untrained, after = test_loss(1e-12), test_loss(0.01)
    # A gain, whatever the loss's scale and sign. Counts begin at their mean, in which most of
    # their loss lies.
    least = 0.01 if name == "poisson_nll" else 0.1
    assert after < untrained - least * abs(untrained)
