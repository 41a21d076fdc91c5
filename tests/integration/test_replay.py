"""A step is replayed on a whole stack: from a rise of the loss to the row that made it."""

import json

import mlflow
from tests._parts import wait_until
from tests.integration.stack import Stack

# One target of 266 is moved 50 sd up.
SPEC = {
    "task": "regression",
    "dataset": "diabetes",
    "preprocessing": {
        "standardise_targets": False,
        "target_outliers": {"share": 0.004, "low_sd": 50, "high_sd": 50},
    },
    "model": {"mlp": {"hidden": [16], "dropout": 0.1}},
    "loss": "mse",
    "training": {
        "epochs": 20,
        "log_every_steps": 1,
        "checkpoints": {"every_steps": 50, "keep_every": 1},
    },
    "experiment": "replayed",
    "outputs": {"plots": False},
}


def test_a_rise_of_the_loss_leads_to_its_row(stack: Stack) -> None:
    with stack.client() as client:
        job = client.submit(SPEC).wait(360)
        wait_until(lambda: job.refresh().message.tracking.complete, timeout=60, what="delivered")
        tracking = mlflow.MlflowClient(stack.tracking)
        # The record has two points a second, and MLflow all.
        points = tracking.get_metric_history(job.message.tracking.run_id, "train/loss")
        losses = {point.step: point.value for point in points}
        late = max((step for step in losses if step > 100), key=losses.__getitem__)
        done = stack.run("replay", job.id, "--step", str(late), "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        report = answer["outcome"]["replay"]
        assert report["loss"] == losses[late]
        assert int(report["from_step"]) == late - 1 - (late - 1) % 50
        row = int(report["rows"][0]["row"])
        assert report["rows"][0]["loss"] > 20 * report["rows"][1]["loss"]

        early = max((step for step in losses if 9 < step <= 50), key=losses.__getitem__)
        done = stack.run("replay", job.id, "--step", str(early), "--without", str(row))
        assert done.returncode == 0, done.stderr
        assert "replayed from the initial state" in done.stdout
        assert f"without row {row}: loss" in done.stdout
        # Its first step's loss is always recorded.
        assert "Equal to the record, bit for bit" in done.stdout
        replays = client.jobs(filter='experiment = "replayed"', limit=1)
        shown = stack.run("show", next(replays).id)
        assert f"step {early} of {job.id}" in shown.stdout
        assert f"without row {row}: loss" in shown.stdout

        compared = client.compare(filter='experiment = "replayed"', metric="test/mae")
        assert [row.job for group in compared.groups for row in group.rows] == [job.name]
        replay = client.job(answer["id"])
        assert replay.replayed is not None
        wait_until(
            lambda: replay.refresh().message.tracking.complete, timeout=60, what="delivered"
        )
        run_id = replay.message.tracking.run_id
        run = tracking.get_run(run_id)
        assert run.data.tags["talweg.kind"] == "replay"
        assert run.data.tags["talweg.replay_of"] == job.id
        assert run.data.params.keys() == {"replay.job", "replay.step"}
        assert run.data.metrics.keys() == {"replay/loss", "replay/grad_norm"}
        files = {item.path for item in tracking.list_artifacts(run_id, "replay")}
        assert files == {"replay/replay.json", "replay/replay.txt"}
        tables = {item.path for item in tracking.list_artifacts(run_id, "diagnostics")}
        assert "diagnostics/replay_rows.csv" in tables
