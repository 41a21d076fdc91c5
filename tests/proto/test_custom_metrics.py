"""Metrics of a job's own choice: their names and goals, and what is refused at submission."""

from typing import Any

import pytest
from tests.proto.specs import base, checked, classes

from talweg.spec import fill, from_dict, goal_of, metrics_of, primary_metric, to_dict
from talweg.v1.options_pb2 import MAXIMIZE, MINIMIZE


def measured(*metrics: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return base(evaluation={"metrics": list(metrics)}, **fields)


def of_class(name: str, **fields: Any) -> dict[str, Any]:
    return {"torchmetrics": {"class": name, **fields}}


def test_names_and_goals_are_known_without_torch() -> None:
    spec = from_dict(
        measured(
            of_class("SpearmanCorrCoef"),
            of_class("LogCoshError", goal="maximize"),
            {"formula": "where(abs(pred - target) < k, 1, 0)", "params": {"k": 5},
             "goal": "maximize", "name": "near"},
            {"formula": "abs(pred - target)", "goal": "minimize"},
        )
    )  # fmt: skip
    assert checked(to_dict(spec))[0] == []
    names = [facts.name for facts in metrics_of(spec)]
    assert names == [
        "mae",
        "rmse",
        "r2",
        "spearman_corr_coef",
        "log_cosh_error",
        "near",
        "formula",
    ]
    assert goal_of(spec, "val/spearman_corr_coef") == MAXIMIZE
    assert goal_of(spec, "test/log_cosh_error") == MAXIMIZE
    assert goal_of(spec, "test/near") == MAXIMIZE
    assert goal_of(spec, "test/formula") == MINIMIZE
    assert primary_metric(spec) == "test/mae"
    # As it was filled, it is submitted again.
    assert fill(from_dict(to_dict(fill(spec)))) == fill(spec)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("AUROC", "auroc"), ("FBetaScore", "f_beta_score"), ("JaccardIndex", "jaccard_index")],
)
def test_names_are_those_of_classes_in_words(name: str, expected: str) -> None:
    spec = from_dict(classes(evaluation={"metrics": [of_class(name, parameters={"beta": 2})]}))
    assert metrics_of(spec)[-1].name == expected


def test_a_custom_metric_can_stop_training() -> None:
    stopping = {"early_stopping": {"metric": "val/spearman_corr_coef"}}
    value = measured(of_class("SpearmanCorrCoef"), training={"epochs": 2, **stopping})
    assert checked(value)[0] == []
    value["evaluation"]["metrics"] = []
    (violation,) = checked(value)[0]
    assert violation.field == "training.early_stopping.metric"


@pytest.mark.parametrize(
    ("metric", "field", "found", "allowed"),
    [
        (of_class("SpearmanCorCoef"), ".torchmetrics.class", '"SpearmanCorCoef"', "Spearman"),
        (of_class("AUROC"), ".torchmetrics.class", '"AUROC"', "one of ConcordanceCorrCoef"),
        (of_class("MinkowskiDistance"), ".torchmetrics.parameters.p", "nothing", "number >= 1"),
        (
            of_class("MinkowskiDistance", parameters={"p": 0.5}),
            ".torchmetrics.parameters.p", "0.5", "number >= 1",
        ),
        (
            of_class("NormalizedRootMeanSquaredError", parameters={"normalization": "d"}),
            ".torchmetrics.parameters.normalization", '"d"', "one of mean, range, std, l2",
        ),
        (
            of_class("RelativeSquaredError", parameters={"sqared": True}),
            ".torchmetrics.parameters.sqared", '"sqared"', "squared",
        ),
        (
            of_class("PearsonCorrCoef", parameters={"num_outputs": 2}),
            ".torchmetrics.parameters", "parameters of PearsonCorrCoef, which has none", "none",
        ),
        (of_class("PearsonCorrCoef", goal="up"), ".torchmetrics.goal", '"up"', "minimize or"),
        ({"formula": "abs(pred - target)"}, ".goal", "nothing", "minimize or maximize"),
        (
            {"formula": "abs(pred - targt)", "goal": "minimize"},
            ".formula", "'targt' at column 12", "target",
        ),
        ({"formula": "2", "goal": "minimize"}, ".formula", "pred", "pred"),
        ({}, "", "neither torchmetrics nor formula", "one of them"),
        (
            {"formula": "pred", "goal": "minimize", **of_class("PearsonCorrCoef")},
            "", "both torchmetrics and formula", "one of them",
        ),
        (
            {"formula": "abs(pred - target)", "goal": "minimize", "name": "mae"},
            ".name", '"mae", which is a metric of the task regression already', "own",
        ),
        (
            {**of_class("PearsonCorrCoef"), "name": "loss"},
            ".name", '"loss", which is the loss already', "own",
        ),
        ({**of_class("PearsonCorrCoef"), "name": "Near 5"}, ".name", '"Near 5"', "lower-case"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_at_submission(
    metric: dict[str, Any], field: str, found: str, allowed: str
) -> None:
    violation = checked(measured(metric))[0][0]
    assert violation.field == f"evaluation.metrics[0]{field}"
    assert found in violation.found
    assert allowed in f"{violation.allowed} {violation.hint}"


def test_a_name_of_the_task_before_the_class_is_pointed_out() -> None:
    value = classes(evaluation={"metrics": [of_class("MulticlassMatthewsCorrCoef")]})
    (violation,) = checked(value)[0]
    assert violation.hint == "did you mean 'MatthewsCorrCoef'?"


def test_two_of_one_name_and_tasks_without_custom_metrics() -> None:
    twice = checked(measured(of_class("PearsonCorrCoef"), of_class("PearsonCorrCoef")))[0]
    assert [each.field for each in twice] == ["evaluation.metrics[1].name"]
    assert "which is evaluation.metrics[0] already" in twice[0].found
    value = base(
        task="multilabel", dataset="synthetic_multilabel", loss="bce_with_logits",
        evaluation={"metrics": [of_class("AUROC")]},
    )  # fmt: skip
    (violation,) = checked(value)[0]
    assert violation.field == "evaluation.metrics"
    assert violation.allowed == "the tasks regression, binary, multiclass"
