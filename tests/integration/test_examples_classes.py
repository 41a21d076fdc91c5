"""Examples of classes end above simple baselines, computed on the same split."""

import mlflow
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tests.integration.examples import EXAMPLES, run_example
from tests.integration.stack import Stack

# An example a model.
MODELS = sorted(path.stem for path in EXAMPLES.glob("multiclass_digits*.yaml"))


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("example", [*MODELS, "curriculum_digits"])
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


@pytest.mark.timeout(2400)
def test_pairs_are_told_apart_better_than_by_their_pixels(stack: Stack) -> None:
    ran = run_example(stack, "metric_learning_pairs")
    pairs = ran.bundle.test.arrays
    apart = torch.linalg.vector_norm((pairs["left"] - pairs["right"]).flatten(1), dim=1)
    baseline = roc_auc_score(pairs["same"].numpy(), -apart.numpy())
    assert baseline > 0.8
    assert ran.metrics["test/verification_auroc"] > baseline + 0.05
    assert ran.plots == {"loss_curve", "embeddings", "distances"}
    assert ran.predicts()[1:] == (8,)
