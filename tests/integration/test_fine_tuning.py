"""A job starts from the weights of another on a whole stack, by every way that there is."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests._parts import wait_until
from tests.integration.stack import Stack
from torch import Tensor, equal

from talweg.client import Client, InvalidSpec, Job

MODEL = {"mlp": {"hidden": [16, 8], "batch_norm": True}}
TRUNK = ("linear1", "batch_norm1", "linear2", "batch_norm2")
# Of as many features as the wines have, and of other classes.
OTHER = {"synthetic_classification": {"num_features": 13, "num_classes": 5, "num_samples": 300}}


def spec(**fields: Any) -> dict[str, Any]:
    return {
        "task": "multiclass",
        "dataset": "wine",
        "model": MODEL,
        "loss": "cross_entropy",
        "training": {"epochs": 3},
        "experiment": "fine-tuning",
        "outputs": {"plots": False},
        **fields,
    }


def file_of(job: Job, folder: Path) -> Path:
    (file,) = job.download("model/weights.safetensors", to=folder)
    return file


def weights_of(job: Job, folder: Path) -> dict[str, Tensor]:
    return load_file(file_of(job, folder))


@pytest.mark.faults
def test_a_trunk_is_taken_and_frozen_and_the_head_is_new(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        source = client.submit(spec())
        with pytest.raises(InvalidSpec, match="a job that SUCCEEDED"):
            client.submit(spec(weights=source.name))
        source.wait(240).result()
        fields = {"freeze": list(TRUNK), "learning_rates": {"linear3": 2}}
        tuned = client.submit(spec(dataset=OTHER, weights=source.name, **fields))
        tuned.wait(240).result()
        before = weights_of(source, tmp_path / "source")
        after = weights_of(tuned, tmp_path / "tuned")
        assert after["linear3.weight"].shape == (5, 8)
        trunk = {name for name in before if not name.startswith("linear3")}
        assert len(trunk) == 14
        assert all(equal(before[name], after[name]) for name in trunk)

        taken = tuned.refresh().message.taken_weights
        assert (taken.source, taken.num_taken, taken.num_new) == (source.name, 14, 2)
        assert taken.sha256 == tuned.spec.weights.sha256
        done = stack.run("show", tuned.id)
        assert "14 of the model's 16 tensors were taken" in done.stdout
        assert "linear3.weight (5, 8) ((3, 8) in the file)" in " ".join(done.stdout.split())
        assert "Frozen: 8 of 10 parameters" in stack.run("logs", tuned.id).stdout
        # The name of a pattern must not keep the run from MLflow.
        wait_until(lambda: tuned.refresh().message.tracking.complete, timeout=90, what="delivered")
        refused = stack.run("rm", source.id, "--yes", "--force")
        assert refused.returncode != 0
        assert tuned.id in refused.stderr

        _from_a_file(stack, client, file_of(source, tmp_path / "source"), trunk)
        _from_the_registry(stack, client, source)
        goes_on = tuned.continue_("training.epochs=4")
        assert not goes_on.spec.HasField("weights")
        assert goes_on.wait(240).result().state == "SUCCEEDED"


def _from_a_file(stack: Stack, client: Client, file: Path, trunk: set[str]) -> None:
    done = stack.run("data", "add", str(file), "--name", "trunk")
    assert done.returncode == 0, done.stderr
    assert "weights: {stored: trunk}" in done.stdout
    assert "weights, 16 tensors" in done.stdout
    job = client.submit(spec(dataset=OTHER, weights={"stored": "trunk"}))
    assert job.spec.weights.stored.startswith("trunk@")
    refused = stack.run("data", "remove", "trunk", "--yes")
    assert refused.returncode != 0
    job.wait(240).result()
    taken = job.refresh().message.taken_weights
    assert {each.name for each in taken.tensors if each.use == each.TAKEN} == trunk


def _from_the_registry(stack: Stack, client: Client, source: Job) -> None:
    wait_until(lambda: source.refresh().message.tracking.complete, timeout=90, what="delivered")
    registered = source.register("wines tuned", alias="champion")
    for name in ("wines tuned@champion", f"wines tuned/{registered.version}"):
        previewed = client.submit(spec(weights={"registry": name}), validate_only=True)
        assert previewed.spec.weights.job == source.name
        assert not previewed.spec.weights.HasField("registry")
    for name in ("wines tuned@nobody", "none@champion", "wines tuned/99"):
        with pytest.raises(InvalidSpec, match="talweg register") as error:
            client.submit(spec(weights={"registry": name}))
        assert error.value.violations[0].field == "weights.registry"
