"""Examples of classes end above simple baselines, computed on the same split."""

import mlflow
import pytest
from sklearn.linear_model import LogisticRegression
from tests.integration.examples import run_example
from tests.integration.stack import Stack


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "example", ["multiclass_digits", "multiclass_digits_resnet", "curriculum_digits"]
)
def test_digits_are_above_logistic_regression(stack: Stack, example: str) -> None:
    ran = run_example(stack, example)
    train, test = ran.bundle.train, ran.bundle.test
    linear = LogisticRegression(max_iter=1000)
    linear.fit(train.x.flatten(1).numpy(), train.y.numpy())
    baseline = linear.score(test.x.flatten(1).numpy(), test.y.numpy())
    assert baseline > 0.94
    assert ran.metrics["test/accuracy"] > baseline
    if example == "curriculum_digits":
        shares = mlflow.MlflowClient().get_metric_history(ran.run_id, "curriculum/share")
        rising = [0.33, 0.464, 0.598, 0.732, 0.866]
        assert [point.value for point in shares] == pytest.approx([1, *rising, *[1] * 6], abs=2e-3)
