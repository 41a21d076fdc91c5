"""What follows from a spec: metrics, goals, outputs."""

from typing import Any

import pytest
from tests.proto.specs import base, classes, layers

from talweg.spec import (
    arrays_of,
    fill,
    from_dict,
    goal_of,
    kind,
    metrics_of,
    num_outputs,
    output_activation,
    primary_metric,
    split_sizes,
    task_kind,
)
from talweg.v1.losses_pb2 import Huber, Loss
from talweg.v1.options_pb2 import BINARY, GOAL_UNSPECIFIED, MAXIMIZE, MINIMIZE, REGRESSION
from talweg.v1.spec_pb2 import JobSpec, Split


def test_kind() -> None:
    assert kind(Loss(huber=Huber(delta=2))) == ("huber", Huber(delta=2))
    with pytest.raises(ValueError, match="Loss must be one of mse, mae, .* but got nothing"):
        kind(Loss())


def test_task_kind() -> None:
    assert task_kind(from_dict(base())) == REGRESSION
    assert task_kind(from_dict({"task": "binary"})) == BINARY
    assert task_kind(JobSpec()) == 0


def test_arrays_are_those_that_the_task_reads() -> None:
    assert arrays_of(from_dict(base())) == ("x", "y")
    assert arrays_of(JobSpec()) == ()


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        ("mse", ["mae", "rmse", "r2"]),
        ({"quantile": {"q": 0.9}}, ["mae", "rmse", "r2", "pinball"]),
        ({"multi_quantile": {"quantiles": [0.1]}}, ["mae", "rmse", "r2", "pinball"]),
        ({"sum": {"terms": [{"loss": "mse"}, {"loss": "quantile"}]}},
         ["mae", "rmse", "r2", "pinball"]),
    ],
)  # fmt: skip
def test_metrics(loss: Any, names: list[str]) -> None:
    assert [m.name for m in metrics_of(from_dict(base(loss=loss)))] == names


@pytest.mark.parametrize(
    ("value", "metric"),
    [
        (base(), "test/mae"),
        (classes(), "test/accuracy"),
        (base(split={"test": 0}), "val/mae"),
        (base(split={"test": 0, "validation": 0}), "train/loss"),
        ({}, "train/loss"),
    ],
)
def test_primary_metric(value: dict[str, Any], metric: str) -> None:
    spec = from_dict(value)
    assert primary_metric(spec) == metric
    assert primary_metric(fill(spec)) == metric


@pytest.mark.parametrize(
    ("metric", "goal"),
    [
        ("val/mae", MINIMIZE),
        ("test/r2", MAXIMIZE),
        ("train/loss", MINIMIZE),
        ("val/loss", MINIMIZE),
        ("val/pinball", GOAL_UNSPECIFIED),
        ("val/accuracy", GOAL_UNSPECIFIED),
        ("lr", GOAL_UNSPECIFIED),
        ("guard/grad_norm", GOAL_UNSPECIFIED),
        ("mae", GOAL_UNSPECIFIED),
    ],
)
def test_goals(metric: str, goal: int) -> None:
    assert goal_of(from_dict(base()), metric) == goal


QUANTILES = {"multi_quantile": {"quantiles": [0.1, 0.5, 0.9]}}


@pytest.mark.parametrize(
    ("value", "num_targets", "expected"),
    [
        (base(), 1, 1),
        (base(), 4, 4),
        (base(loss=QUANTILES), 1, 3),
        (base(loss=QUANTILES), 2, 6),
        (base(loss={"sum": {"terms": [{"loss": QUANTILES}]}}), 2, 6),
        (base(loss="quantile"), 2, 2),
        (classes(), 10, 10),
        (base(loss="gaussian_nll"), 3, 6),
        (base(loss="tweedie"), 3, 3),
        (classes(loss={"arcface": {"embedding_size": 5}}), 10, 5),
        (classes(loss={"sum": {"terms": [{"loss": {"cosface": {"embedding_size": 7}}}]}}), 10, 7),
        (classes(loss={"ldam": {"embedding_size": 6}}), 10, 6),
        (classes(loss="logit_adjusted"), 10, 10),
        ({"task": "binary"}, 2, 1),
        ({"task": "multilabel"}, 5, 5),
        ({"task": "ordinal"}, 5, 4),
    ],
)
def test_num_outputs(value: dict[str, Any], num_targets: int, expected: int) -> None:
    assert num_outputs(from_dict(value), num_targets) == expected


def test_num_outputs_needs_a_task_and_targets() -> None:
    with pytest.raises(ValueError, match="num_targets must be >= 1, but got 0"):
        num_outputs(from_dict(base()), 0)
    with pytest.raises(ValueError, match="task must be chosen"):
        num_outputs(JobSpec(), 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (base(), "none"),
        (layers("linear"), "none"),
        (layers("linear", "softmax"), "softmax"),
        (layers("linear", "sigmoid", "dropout", "flatten"), "sigmoid"),
        (layers("sigmoid", "linear"), "none"),
        (layers("softmax", "relu"), "none"),
    ],
)
def test_output_activation(value: dict[str, Any], expected: str) -> None:
    assert output_activation(from_dict(value)) == expected


@pytest.mark.parametrize(
    ("shares", "num_samples", "sizes"),
    [
        ((0.6, 0.2, 0.2), 442, (266, 88, 88)),
        ((0.7, 0.2, 0.1), 10, (7, 2, 1)),
        ((0.71, 0.29, 0), 100, (71, 29, 0)),
        ((0.5, 0.2, 0.1), 99, (49, 19, 9)),
        ((1, 0, 0), 7, (7, 0, 0)),
    ],
)
def test_split_sizes(
    shares: tuple[float, float, float], num_samples: int, sizes: tuple[int, int, int]
) -> None:
    train, validation, test = shares
    split = Split(train=train, validation=validation, test=test)
    assert split_sizes(split, num_samples) == sizes


@pytest.mark.parametrize(("num_samples", "folds"), [(10, 3), (442, 5), (7, 7), (100, 2)])
def test_sizes_of_folds(num_samples: int, folds: int) -> None:
    spec = from_dict(base(split={"fold": 1, "folds": folds, "validation": 0.1}))
    split = fill(spec).split
    assert fill(fill(spec)) == fill(spec)
    tests = []
    for fold in range(1, folds + 1):
        split.fold = fold
        train, validation, test = split_sizes(split, num_samples)
        assert train + validation + test == num_samples
        assert validation == num_samples // 10
        tests.append(test)
    assert sum(tests) == num_samples
    assert max(tests) - min(tests) <= 1
