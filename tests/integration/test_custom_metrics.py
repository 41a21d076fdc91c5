"""Metrics of a job's own choice through a whole stack: record, MLflow, comparison."""

import json

import mlflow
import pytest
from tests._parts import wait_until
from tests.integration.stack import Stack, tiny_spec

from talweg.client import InvalidSpec

METRICS = [
    {"torchmetrics": {"class": "SpearmanCorrCoef"}},
    {"formula": "abs(pred - target)", "goal": "minimize", "name": "by_hand"},
]


def test_a_custom_metric_is_in_record_mlflow_and_comparison(stack: Stack) -> None:
    with stack.client() as client:
        jobs = [
            client.submit(
                tiny_spec(
                    seed,
                    evaluation={"metrics": METRICS},
                    experiment="custom metrics",
                    diagnostics={"trivial": True},
                    training={
                        "epochs": 3,
                        "seed": seed,
                        "early_stopping": {"metric": "val/spearman_corr_coef"},
                    },
                )
            )
            for seed in range(2)
        ]
        results = [job.wait(240).result() for job in jobs]
        wait_until(
            lambda: all(job.refresh().message.tracking.complete for job in jobs),
            timeout=240,
            what="delivered",
        )
        with pytest.raises(InvalidSpec, match="did you mean 'SpearmanCorrCoef'"):
            client.submit(
                tiny_spec(evaluation={"metrics": [{"torchmetrics": {"class": "SpearmanCorCoef"}}]})
            )
    mlflow.set_tracking_uri(stack.tracking)
    for job, result in zip(jobs, results, strict=True):
        assert result.metrics["test/by_hand"] == pytest.approx(result.metrics["test/mae"])
        assert result.metrics["trivial/by_hand"] == pytest.approx(result.metrics["trivial/mae"])
        run = mlflow.MlflowClient().get_run(job.message.tracking.run_id)
        for name in ("test/by_hand", "test/spearman_corr_coef"):
            assert run.data.metrics[name] == pytest.approx(result.metrics[name])
        assert "val/spearman_corr_coef" in run.data.metrics
    ids = [job.id for job in jobs]
    done = stack.run("compare", *ids, "--metric", "test/spearman_corr_coef", "--json")
    assert done.returncode == 0, done.stderr
    compared = json.loads(done.stdout)
    assert compared["goal"].lower().endswith("maximize")
    done = stack.run("compare", *ids, "--metric", "test/spearman")
    assert done.returncode != 0
    assert "test/spearman_corr_coef" in done.stderr
