"""The command line over both servers: what it prints, where to, and its exit status."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests._parts import free_port
from tests.client.commands import Talweg, finishing
from tests.client.faulty import FaultyServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client, FailedPrecondition
from talweg.client import _connection as connection
from talweg.client.cli._root import run
from talweg.spec import parse
from talweg.v1 import jobs_pb2
from talweg.v1.options_pb2 import NumberRule
from talweg.v1.plugins_pb2 import PluginDeclaration, PluginParameter
from talweg.v1.workers_pb2 import ReportPluginsRequest


def test_watch(talweg: Talweg, worker: Worker, client: Client) -> None:
    job = client.submit(sample())
    attempt = worker.claim(job.name)
    attempt.report(step=2, log="off we go", warning="mind the step")
    attempt.finish(metrics={"test/mae": 50.0})
    done = talweg("watch", job.id)
    assert done.status == 0
    assert "off we go" in done.out
    assert "warning: mind the step" in done.out
    lines = [json.loads(line) for line in talweg("watch", job.id, "--json").out.splitlines()]
    assert [line["cursor"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["finished"]["state"] == "SUCCEEDED"
    assert {line["job"] for line in lines} == {job.name}


def test_exit_status_of_watch_is_the_jobs(talweg: Talweg, worker: Worker, client: Client) -> None:
    good, bad = client.submit(sample()), client.submit(sample())
    with finishing(worker, jobs_pb2.Job.SUCCEEDED, jobs_pb2.Job.DIVERGED):
        good.wait(120)
        bad.wait(120)
    assert talweg("watch", good.id).status == 0
    assert talweg("watch", good.id, bad.id).status == 1
    assert talweg("watch", bad.id, "--json").status == 1


def test_jobs(talweg: Talweg, client: Client) -> None:
    experiment = f"list {client.submit(sample()).id}"
    client.submit_many([sample(seed, experiment=experiment) for seed in range(3)])
    client.submit(sample(loss="mae", experiment=experiment)).cancel()
    done = talweg("jobs", "--experiment", experiment)
    assert done.status == 0
    assert len(done.out.splitlines()) == 5
    assert "mse on diabetes, seed 2" in done.out
    found = talweg("jobs", "--experiment", experiment, "--state", "CANCELLED", "--json").json
    assert [job["spec"]["loss"] for job in found] == [{"mae": {"reduction": "mean"}}]
    both = ("--state", "CANCELLED", "--state", "queued")
    assert len(talweg("jobs", "--experiment", experiment, *both, "--json").json) == 4
    done = talweg("jobs", "--experiment", experiment, "--limit", "2")
    assert len(done.out.splitlines()) == 3
    assert "there are more jobs" in done.err
    condition = 'loss = "mae" AND state = CANCELLED'
    done = talweg("jobs", "--filter", condition, "--experiment", experiment, *both, "--json")
    assert len(done.json) == 1
    done = talweg("jobs", "--experiment", "no such")
    assert (done.status, done.out) == (0, "")


def test_show(talweg: Talweg, worker: Worker, client: Client) -> None:
    job = client.submit(sample(tags={"team": "blue"}, loss={"mse": {"reduction": "sum"}}))
    done = talweg("show", job.id)
    assert "QUEUED" in done.out
    assert "waiting" in done.out
    assert "team=blue" in done.out
    assert "warning: loss.mse.reduction" in done.out
    seen = jobs_pb2.Divergence(
        step=7, what="gradient", value="inf", module="1.linear", parameters=["1.linear.weight"],
        losses=[1.5, 250.25], gradient_norms=[0.5, 1e17], learning_rate=0.5, hint="try 0.005",
        samples=range(12), bad_samples=[4], good_step=5, policy="it had been patient",
    )  # fmt: skip
    attempt = worker.claim(job.name)
    attempt.report(step=2, metrics={"val/mae": 60.0})
    attempt.finish(
        jobs_pb2.Job.DIVERGED, message="it diverged", cause=jobs_pb2.Outcome.NOT_FINITE,
        divergence=seen,
    )  # fmt: skip
    attempt.deliver("http://127.0.0.1:5000/#/experiments/1/runs/r1", "r1")
    done = talweg("show", job.name)
    for words in (
        "DIVERGED",
        "NOT_FINITE: it diverged",
        "at step 7 the gradient was inf, first in module 1.linear",
        "1.linear.weight",
        "250.25",
        "1.0000e+17",
        "try 0.005",
        "non-finite samples: 4",
        "samples of the step: 0, 1, 2, 3, 4, 5, 6, 7 and 4 more (indices from 0 into the training",
        "last good state: after step 5",
        "training ended because it had been patient",
        "val/mae",
        "http://127.0.0.1:5000/#/experiments/1/runs/r1",
    ):
        assert words in done.out
    spec = done.out[done.out.index("Spec\n") + 5 :].partition("\nMLflow: ")[0]
    assert parse(spec) == job.spec
    shown = talweg("show", job.id, "--json").json
    assert shown["outcome"]["divergence"]["losses"] == [1.5, 250.25]
    assert shown["metrics"]["val/mae"]["last"] == 60


def test_beginning_of_an_id(talweg: Talweg, client: Client) -> None:
    jobs = client.submit_many([sample() for _ in range(40)])
    known = [job.id for job in client.jobs()]

    def fitting(prefix: str) -> list[str]:
        return [id for id in known if id.startswith(prefix)]

    id = jobs[0].id
    unique = next(id[:n] for n in range(1, 20) if fitting(id[:n]) == [id])
    assert talweg("show", unique, "--json").json["id"] == id
    assert talweg("show", f"jobs/{unique}", "--json").json["id"] == id
    # Of forty ids two begin alike.
    several = next(id[:1] for id in known if len(fitting(id[:1])) > 1)
    done = talweg("show", several)
    assert done.status == 2
    num = len(fitting(several))
    assert f"is a prefix of {num if num <= 5 else 'more than 5'} jobs: " in done.err
    named = done.err.partition(" jobs: ")[2].partition(". ")[0].removesuffix(", …").split(", ")
    assert len(named) == min(num, 5)
    assert set(named) <= set(fitting(several))


def test_a_mistyped_id_fetches_no_list_of_jobs(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALWEG_ADDRESS", faulty.address)
    with Client(faulty.address) as client:
        client.submit_many([sample() for _ in range(300)])
    faulty.calls.clear()
    assert run(["show", "zzzz"]) == 3
    assert faulty.calls == ["GetJob", "GetSweep", "ListJobs", "ListSweeps"]


@pytest.mark.parametrize("command", ["show", "watch", "cancel", "retry", "compare"])
def test_missing_job(talweg: Talweg, command: str) -> None:
    done = talweg(command, "zzzzzz")
    assert done.status == 3
    assert "zzzzzz" in done.err
    assert done.out == ""


def test_cancel(talweg: Talweg, client: Client, worker: Worker) -> None:
    first, second = client.submit(sample()), client.submit(sample())
    options = ("--reason", "no need", "--grace", "5min")
    done = talweg("cancel", first.id, "zzzzzz", second.id, *options)
    assert done.status == 3
    for job in (first, second):
        assert f"{job.id} is CANCELLED" in done.out
        assert job.refresh().state == "CANCELLED"
    ended = client.submit(sample())
    worker.claim(ended.name).finish()
    done = talweg("cancel", ended.id)
    assert done.status == 6
    assert ended.id in done.err
    assert talweg("cancel", ended.id, "--grace", "soon").status == 2


def test_pause_and_resume(talweg: Talweg, client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    assert f"{job.id} is PAUSED" in talweg("pause", job.id, "--reason", "lunch").out
    assert job.refresh().state == "PAUSED"
    assert f"{job.id} is QUEUED" in talweg("resume", job.id).out
    (again,) = talweg("pause", job.id, "--json").json
    assert again["state"] == "PAUSED"
    assert job.resume().state == "QUEUED"
    job.cancel().wait(120)
    assert talweg("pause", job.id).status == 6
    with pytest.raises(FailedPrecondition):
        job.resume()


def test_retry(talweg: Talweg, client: Client, worker: Worker) -> None:
    job = client.submit(sample(6))
    assert talweg("retry", job.id).status == 6
    assert "6 the state of the job does not allow it" in " ".join(talweg("--help").out.split())
    worker.claim(job.name).finish(jobs_pb2.Job.FAILED)
    (again,) = talweg("retry", job.id, "--json").json
    assert again["retry_of"] == job.name
    assert again["spec"]["training"]["seed"] == 6


def test_compare(talweg: Talweg, client: Client, worker: Worker) -> None:
    experiment = f"compare {client.submit(sample()).cancel().id}"
    values = {("mse", 0): 80.0, ("mse", 1): 90.0, ("mae", 0): 50.0, ("mae", 1): 52.0}
    jobs = client.submit_many(
        [sample(seed, loss=loss, experiment=experiment) for loss, seed in values]
    )
    attempts = []
    for value in values.values():
        attempts.append(worker.claim())
        attempts[-1].finish(metrics={"test/mae": value})
    done = talweg("compare", "--experiment", experiment)
    assert done.status == 0
    title, header, best, worse = done.out.splitlines()[:4]
    assert title == "test/mae (lower is better), by loss"
    assert header.split()[:2] == ["loss", "mean"]
    figures = ["51.00", "±", "1.41", "51.00", "(1.00)", "2", "50.00", "52.00", "2/2"]
    assert best.split() == ["mae", *figures]
    assert worse.split()[0] == "mse"
    assert "MLflow:" not in done.out
    assert "--link" in done.err
    compared = talweg("compare", *(job.id for job in jobs), "--json").json
    assert compared["url"] is None
    assert [group["mean"] for group in compared["groups"]] == [51, 85]
    for attempt, run_id in zip(attempts, ("a", "b", "c", "d"), strict=True):
        attempt.deliver(f"http://127.0.0.1:5000/#/experiments/1/runs/{run_id}", run_id)
    # A job that never began has no run to wait for.
    never = client.submit(sample(experiment=experiment)).cancel()
    done = talweg("compare", *(job.id for job in jobs[:2]), never.id, "--link")
    assert (
        "MLflow: http://127.0.0.1:5000/#/experiments/1/runs"
        "?searchFilter=attributes.run_id%20IN%20%28%27a%27%2C%27b%27%29"
        "&orderByKey=metrics.%60test%2Fmae%60&orderByAsc=true"
        "&compareRunsMode=CHART&workflowType=machine_learning\n" in done.out
    )
    done = talweg("compare", "--experiment", experiment)
    assert (
        "MLflow: http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=talweg-test-mae"
        "&compareRunsMode=CHART&workflowType=machine_learning\n" in done.out
    )


def test_compare_needs_a_choice(talweg: Talweg) -> None:
    assert talweg("compare").status == 2
    assert talweg("compare", "a", "--experiment", "b").status == 2


def test_catalogue(talweg: Talweg) -> None:
    assert {"mse", "sum"} <= {entry["name"] for entry in talweg("losses", "--json").json}
    fitting = talweg("losses", "--task", "multiclass").out
    assert "cross_entropy" in fitting
    assert "huber" not in fitting
    explained = talweg("losses", "huber").out
    assert "delta" in explained
    assert "> 0" in explained
    assert "Huber 1964" in explained
    done = talweg("losses", "hubr")
    assert done.status == 3
    assert "did you mean 'huber'?" in done.err
    for command, name in (
        ("tasks", "regression"), ("models", "mlp"), ("datasets", "iris"), ("optimizers", "sgd"),
    ):  # fmt: skip
        assert name in talweg(command).out
        assert talweg(command, name, "--json").json["name"] == name
        assert name in talweg(command, name).out


def test_plugins_in_the_catalogue(talweg: Talweg, worker: Worker) -> None:
    gated = PluginDeclaration(
        kind=PluginDeclaration.MODEL,
        name="gated",
        description="A gated model.",
        when="Always",
        package="own-models",
        version="1",
        parameters=[
            PluginParameter(
                name="hidden",
                type=PluginParameter.INTEGER,
                list=True,
                default="[8]",
                bounds=NumberRule(ge=1),
                description="Units of each layer.",
            )
        ],
    )
    newer = PluginDeclaration()
    newer.CopyFrom(gated)
    newer.version = "2"

    def tell(name: str, *plugins: PluginDeclaration) -> None:
        worker.stub.ReportPlugins(ReportPluginsRequest(worker=name, plugins=plugins))

    tell("w1", gated)
    row = r"plugin:gated +vectors or images, as it takes them +Always"
    assert re.search(row, talweg("models").out)
    for name in ("gated", "plugin:gated"):
        out = " ".join(talweg("models", name).out.split())
        for text in ("A gated model.", "own-models 1", "list of integer [8] >= 1 Units of each"):
            assert text in out
    assert talweg("models", "gated", "--json").json["plugin"]["workers"] == ["w1"]
    assert "did you mean 'plugin:gated'?" in talweg("models", "plugin:gatet").err
    tell("w2", newer)
    both = talweg("models", "gated")
    assert "own-models 1" in both.out
    assert "own-models 2" in both.out
    assert [each["plugin"]["version"] for each in talweg("models", "gated", "--json").json] == [
        "1", "2"
    ]  # fmt: skip
    for name in ("w1", "w2"):
        tell(name)
    assert "plugin:gated" not in talweg("models").out


def test_unknown_filter_is_wrong_usage(talweg: Talweg) -> None:
    done = talweg("jobs", "--filter", "nonsense ~ 5")
    assert done.status == 2
    assert done.err.startswith("error: ")


def test_server_down(
    talweg: Talweg, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FIRST_CONTACT_SECONDS", 0.5)
    address = f"127.0.0.1:{free_port()}"
    done = talweg("--address", address, "submit", write(sample()))
    assert done.status == 4
    assert address in done.err
    assert "talweg up" in done.err
