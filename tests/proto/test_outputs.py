"""What a model's outputs are under a loss: by the facts of its message and its parameters."""

from typing import Any

import pytest
from tests.proto.rule_cases import total
from tests.proto.specs import base

from talweg.spec import LossOutput, check, fill, fill_message, from_dict, output_of
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import EXP, NONE, SIGMOID, SOFTMAX, OutputFacts

CASES: list[tuple[Any, LossOutput]] = [
    ("mse", LossOutput(OutputFacts.VALUES)),
    ("expression", LossOutput(OutputFacts.OF_TASK)),
    ("bce", LossOutput(OutputFacts.BINARY_LOGITS)),
    ("cross_entropy", LossOutput(OutputFacts.CLASS_LOGITS)),
    ("poisson_nll", LossOutput(OutputFacts.LOG_MEAN)),
    ({"poisson_nll": {"log_input": True}}, LossOutput(OutputFacts.LOG_MEAN)),
    ({"poisson_nll": {"log_input": False}}, LossOutput(OutputFacts.VALUES)),
    ("tweedie", LossOutput(OutputFacts.LOG_MEAN)),
    ("gaussian_nll", LossOutput(OutputFacts.MEAN_AND_VARIANCE, per_target=2)),
    ("quantile", LossOutput(OutputFacts.VALUES, quantiles=(0.5,))),
    (
        {"multi_quantile": {"quantiles": [0.1, 0.9]}},
        LossOutput(OutputFacts.QUANTILES, per_target=2, quantiles=(0.1, 0.9)),
    ),
    ("arcface", LossOutput(OutputFacts.CLASS_EMBEDDING, embedding_size=64, scale=64.0)),
    (
        {"ldam": {"embedding_size": 7}},
        LossOutput(OutputFacts.CLASS_EMBEDDING, embedding_size=7, scale=30.0),
    ),
    ("coral", LossOutput(OutputFacts.RANK_LOGITS)),
    ("corn", LossOutput(OutputFacts.CONDITIONAL_RANK_LOGITS)),
    ("contrastive", LossOutput(OutputFacts.EUCLIDEAN_EMBEDDING)),
    ("cosine_embedding", LossOutput(OutputFacts.EMBEDDING)),
    ("triplet", LossOutput(OutputFacts.EUCLIDEAN_EMBEDDING)),
    ({"triplet": {"distance": "cosine"}}, LossOutput(OutputFacts.EMBEDDING)),
    ({"online_triplet": {"normalize": True}}, LossOutput(OutputFacts.EMBEDDING)),
    ({"dice": {"mode": "binary"}}, LossOutput(OutputFacts.BINARY_LOGITS)),
    ({"dice": {"mode": "multiclass"}}, LossOutput(OutputFacts.CLASS_LOGITS)),
    ("detection", LossOutput(OutputFacts.BOXES)),
    ("gan", LossOutput(OutputFacts.SCORES)),
    ("vae", LossOutput(OutputFacts.BINARY_LOGITS)),
    ({"vae": {"recon": "gaussian"}}, LossOutput(OutputFacts.VALUES)),
    (total("mse", "quantile"), LossOutput(OutputFacts.VALUES, quantiles=(0.5,))),
    (
        total("mae", {"quantile": {"q": 0.9}}, total("quantile")),
        LossOutput(OutputFacts.VALUES, quantiles=(0.9, 0.5)),
    ),
    (total("expression", "mse"), LossOutput(OutputFacts.VALUES)),
    (
        total("cross_entropy", {"cosface": {"embedding_size": 3}}),
        LossOutput(OutputFacts.CLASS_EMBEDDING, embedding_size=3, scale=64.0),
    ),
    ({}, LossOutput()),
    ("ctc", LossOutput()),
]


@pytest.mark.parametrize(("loss", "expected"), CASES)
def test_what_a_model_gives_is_said_by_the_loss(loss: Any, expected: LossOutput) -> None:
    message = from_dict(loss, Loss)
    assert output_of(message) == expected
    assert output_of(fill_message(message)) == expected


@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        ("mse", NONE),
        ("gaussian_nll", NONE),
        ("tweedie", EXP),
        ({"poisson_nll": {"log_input": False}}, NONE),
        ("bce", SIGMOID),
        ("corn", SIGMOID),
        ("focal", SOFTMAX),
        ("arcface", SOFTMAX),
        ("triplet", NONE),
    ],
)
def test_what_turns_outputs_into_predictions(loss: Any, activation: int) -> None:
    assert output_of(from_dict(loss, Loss)).activation == activation


@pytest.mark.parametrize(
    ("losses", "problem"),
    [
        (("mse", "gaussian_nll"), "gaussian_nll takes two outputs per target"),
        (("poisson_nll", "mse"), "takes the log of the mean: write log_input: false"),
        (({"poisson_nll": {"log_input": False}}, "mse"), "model whose outputs may be negative"),
        (("poisson_nll", "tweedie"), ""),
        (("quantile", "mse"), ""),
        (({"multi_quantile": {"quantiles": [0.1, 0.9]}}, "mse"), "per quantile, 0.1, 0.9"),
        (
            (
                {"multi_quantile": {"quantiles": [0.1, 0.9]}},
                {"multi_quantile": {"quantiles": [0.2, 0.9]}},
            ),
            "per quantile, 0.2, 0.9",
        ),
        (({"multi_quantile": {"quantiles": [0.1]}}, {"multi_quantile": {"quantiles": [0.1]}}), ""),
    ],
)
def test_the_losses_of_a_sum_are_over_the_same_outputs(losses: Any, problem: str) -> None:
    violations, _ = check(fill(from_dict(base(loss=total(*losses)))))
    if problem:
        (violation,) = violations
        assert problem in str(violation)
    else:
        assert violations == []
