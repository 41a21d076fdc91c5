"""A job is continued on a whole stack, and ends as the longer job does."""

import mlflow
from tests._parts import wait_until
from tests.integration.stack import Stack

SPEC = {
    "task": "multiclass",
    "dataset": "wine",
    "model": {"mlp": {"hidden": [8], "dropout": 0.2}},
    "loss": "cross_entropy",
    "experiment": "continued",
    "outputs": {"plots": False},
}


def test_continued_it_ends_as_the_longer_job(stack: Stack) -> None:
    with stack.client() as client:
        longer = client.submit({**SPEC, "training": {"epochs": 7}})
        short = client.submit({**SPEC, "training": {"epochs": 3}})
        short.wait(360).result()
        refused = stack.run("continue", short.id)
        assert refused.returncode == 2
        assert "training.epochs" in refused.stderr
        done = stack.run("continue", short.id, "--set", "training.epochs=7")
        assert done.returncode == 0, done.stderr
        assert f"continues {short.id} from step" in done.stdout
        job = client.job(done.stdout.split()[0])
        metrics = job.wait(360).result().metrics
        wanted = longer.wait(360).result().metrics
        same = {name for name in wanted if name.startswith("test/")}
        assert {name: metrics[name] for name in same} == {name: wanted[name] for name in same}
        reason = next(iter(job.watch())).state.reason
        assert reason.endswith("training.epochs 3 -> 7")
        wait_until(lambda: job.refresh().message.tracking.complete, timeout=60, what="delivered")
        run = mlflow.MlflowClient(stack.tracking).get_run(job.message.tracking.run_id)
        assert run.data.tags["talweg.continued_from"] == short.id
        assert run.data.tags["talweg.continued_step"] == str(job.spec.continued_from.step)
