"""The example plug-in in a whole stack: shown, checked at submission, trained, loaded again."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from tests._parts import wait_until
from tests._plugins import EXAMPLE, EXAMPLE_MODULE
from tests.integration.stack import Stack

from talweg.client import Client, InvalidSpec, Job
from talweg.spec import parse, to_dict
from talweg.v1.jobs_pb2 import Warning


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    """A client of a server that every worker has told of its plug-ins."""
    num_workers = sum(name.startswith("worker-") for name in stack.facts["parts"])
    with Client(stack.address) as client:

        def have_all_told() -> bool:
            entries = [each for each in client.models() if each.name == "plugin:gated"]
            # Names come first, and the parameters once the plug-ins have been loaded.
            told = [entry for entry in entries if entry.parameters]
            return entries == told and [len(each.plugin.workers) for each in told] == [num_workers]

        wait_until(have_all_told, timeout=60, what="the workers have told of their plug-ins")
        yield client


@pytest.fixture(scope="module")
def job(client: Client) -> Job:
    """The example's job, ended."""
    job = client.submit(EXAMPLE / "job.yaml")
    job.wait(720).result()
    return job


def test_the_command_line_shows_typed_parameters(stack: Stack, client: Client) -> None:
    for command, name, words in (
        ("losses", "cauchy", ["scale", "> 0", "1.0", "outliers"]),
        ("models", "plugin:gated", ["hidden", "list of integer", ">= 1", "talweg-plugin-example"]),
        ("datasets", "friedman", ["num_samples", "Fraction of the samples", "regression"]),
    ):
        done = stack.run(command, name.removeprefix("plugin:"))
        assert done.returncode == 0, done.stderr
        text = " ".join(done.stdout.split())
        assert not [word for word in words if word.lower() not in text.lower()], text
        assert f"plugin:{name.removeprefix('plugin:')}" in stack.run(command).stdout


def test_what_is_wrong_is_said_at_submission(client: Client) -> None:
    spec = to_dict(parse((EXAMPLE / "job.yaml").read_text()))
    spec["dataset"]["plugin"]["parameters"] = {"num_samples": 1, "outlier": 0.1}
    spec["model"]["plugin"]["name"] = "gatted"
    spec["loss"]["plugin"]["parameters"] = {"scale": "2"}
    with pytest.raises(InvalidSpec) as refused:
        client.submit(spec)
    violations = {each.field: each for each in refused.value.violations}
    assert set(violations) == {
        "dataset.plugin.parameters.num_samples",
        "dataset.plugin.parameters.outlier",
        "model.plugin.name",
        "loss.plugin.parameters.scale",
    }
    assert "did you mean 'gated'?" in str(violations["model.plugin.name"])


def test_the_job_trains_with_all_three(job: Job) -> None:
    spec = to_dict(job.spec)
    assert spec["dataset"]["plugin"]["parameters"] == {
        "num_samples": 500, "outliers": 0.05, "seed": 0
    }  # fmt: skip
    assert spec["model"]["plugin"]["parameters"] == {"hidden": [32, 32], "dropout": 0.0}
    assert not [each for each in job.message.warnings if each.kind == Warning.PLUGIN_UNKNOWN]


def test_the_model_is_loaded_with_the_package_and_not_without(
    job: Job,
    site: Path,
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="pip install talweg-plugin-example"):
        job.model()
    monkeypatch.syspath_prepend(site)
    names = ["a", "b", "c", "d", "e"]
    rows = np.random.default_rng(5).uniform(size=(40, 5))
    predicted = job.predict(dict(zip(names, rows.T, strict=True)))["prediction"]
    for name in [name for name in sys.modules if name.startswith(EXAMPLE_MODULE)]:
        del sys.modules[name]
    a, b, c, d, e = rows.T
    wanted = 10 * np.sin(np.pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * d + 5 * e
    assert np.corrcoef(predicted, wanted)[0, 1] > 0.9
    source, target = tmp_path / "rows.csv", tmp_path / "out.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows.tolist()])
    done = stack.run("predict", job.id, str(source), "-o", str(target))
    assert done.returncode == 0, done.stderr
    with target.open() as file:
        written = [float(row["prediction"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(written, predicted, rtol=1e-5)


@pytest.mark.faults
def test_mlflow_serves_the_model_without_the_package(job: Job, stack: Stack) -> None:
    """It is an exported program, which holds operators and none of the plug-in's code."""
    wait_until(lambda: job.refresh().message.tracking.complete, timeout=120, what="delivered")
    mlflow.set_tracking_uri(stack.tracking)
    run = mlflow.get_run(job.message.tracking.run_id)
    assert run.outputs is not None
    (output,) = run.outputs.model_outputs
    loaded = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    rows = np.random.default_rng(5).uniform(size=(3, 5))
    predicted = loaded.predict(rows)
    assert EXAMPLE_MODULE not in sys.modules
    assert np.isfinite(np.asarray(predicted, dtype=float)).all()
