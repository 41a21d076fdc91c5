"""A project's files on a whole stack: they lie below its prefix, and go with what they are of."""

import os
from functools import partial
from pathlib import Path

import pandas as pd
from tests._parts import wait_until
from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client, FailedPrecondition, Job

PREFIX = "projects/estates"


def files(folder: Path) -> set[str]:
    # Not by `rglob`, under which folders must not vanish.
    return {
        os.path.relpath(os.path.join(at, name), folder)
        for at, _, names in os.walk(folder)
        for name in names
    }


def is_deleted(job: Job) -> bool:
    """Delete a job once its results are in MLflow."""
    try:
        job.delete()
    except FailedPrecondition:
        return False
    return True


def test_what_a_project_stores_lies_below_its_prefix(stack: Stack, tmp_path: Path) -> None:
    table, blobs = tmp_path / "houses.csv", stack.data / "blobs"
    frame = pd.DataFrame({"area": range(60), "price": [3.0 * area + 1 for area in range(60)]})
    frame.to_csv(table, index=False)
    with stack.client() as everybody, Client(stack.address, project="estates") as client:
        data = client.upload(table, name="of-projects")
        outputs = {"model": False, "plots": False, "checkpoint": True}
        plain = tiny_spec(
            dataset={"stored": {"name": data.name, "target": "price"}}, outputs=outputs
        )
        first = client.submit({**plain, "outputs": {**outputs, "model": True}})
        first.wait(240).result()
        # Its weights and its checkpoint are found, which lie below the prefix too.
        others = client.submit_many(
            [
                {**plain, "weights": first.name},
                {**plain, "continued_from": {"job": first.name}, "training": {"steps": 8}},
            ]
        )
        for job in others:
            job.wait(240).result()
        (weights,) = first.download("model/weights.safetensors", to=tmp_path)
        assert weights.stat().st_size > 0

        marks = {data.digest, *(job.id for job in (first, *others))}
        named = {path for path in files(blobs) if any(mark in path for mark in marks)}
        below = files(blobs / PREFIX)
        assert named == {f"{PREFIX}/{path}" for path in below}
        assert {"/".join(path.split("/")[:2]) for path in below} == {
            f"datasets/{data.digest}",
            *(job.name for job in (first, *others)),
        }
        # The same bytes of another project are stored for it once more.
        assert everybody.upload(table, name="of-projects").digest == data.digest
        again = {path for path in files(blobs) if data.digest in path} - named
        assert again == {path for path in below if data.digest in path}

        for job in (*others, first):
            wait_until(partial(is_deleted, job), timeout=30, what=f"{job.name} is delivered")
        client.delete_stored_dataset(data.name)
        wait_until(
            lambda: not files(blobs / PREFIX),
            timeout=30,
            what="nothing is left below the prefix",
        )
        assert again <= files(blobs)
        everybody.delete_stored_dataset(data.name)
