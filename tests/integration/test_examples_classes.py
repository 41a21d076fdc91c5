"""Examples of classes end above simple baselines, computed on the same split."""

import pytest
from sklearn.linear_model import LogisticRegression
from tests.integration.examples import run_example
from tests.integration.stack import Stack


@pytest.mark.timeout(400)
@pytest.mark.parametrize("example", ["multiclass_digits", "multiclass_digits_resnet"])
def test_digits_are_above_logistic_regression(stack: Stack, example: str) -> None:
    ran = run_example(stack, example)
    train, test = ran.bundle.train, ran.bundle.test
    linear = LogisticRegression(max_iter=1000)
    linear.fit(train.x.flatten(1).numpy(), train.y.numpy())
    baseline = linear.score(test.x.flatten(1).numpy(), test.y.numpy())
    assert baseline > 0.94
    assert ran.metrics["test/accuracy"] > baseline
