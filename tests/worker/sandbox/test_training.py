"""A job in the sandbox is the job that it is elsewhere: bit for bit, interrupted or not."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import fsspec
import pytest
import torch
from tests._plugins import write_package
from tests.worker._jobs import tiny_spec
from tests.worker.data.stored.storing import job_on, store_table
from tests.worker.sandbox._running import MemoryStore, Told, run

from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import diagnostics
from talweg.worker.sandbox.sandbox import Sandbox
from talweg.worker.settings import Settings
from talweg.worker.storage.job_store import JobStore
from talweg.worker.training.interface import NeverStop
from talweg.worker.training.kept import kept_of

pytestmark = pytest.mark.faults

MODEL = """
from torch import nn

def make(parameters, context):
    width = context.input_shape[0]
    return nn.Sequential(nn.Linear(width, 8), nn.Dropout(0.2), nn.Linear(8, context.num_outputs))
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    write_package(folder / "site", "plain_model", MODEL, {"talweg.models:plain": "make"})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "site")
        settings = Settings(blobs=str(folder / "blobs"), data_cache=folder / "cache")
        sandbox = Sandbox(settings)
        yield sandbox
        sandbox.close()


def spec_of(steps: int = 40, processes: int = 1) -> JobSpec:
    return tiny_spec(
        model={"plugin": "plain"},
        training={"steps": steps, "batch_size": 16, "log_every_steps": 1},
        outputs={"model": True, "plots": True},
        resources={"processes": processes},
    )


def losses(told: Told) -> list[tuple[int, float]]:
    return told.series("train/loss")


def test_an_interrupted_job_ends_as_if_nothing_had_happened(sandbox: Sandbox) -> None:
    torch.set_num_threads(1)
    # So many that it is told to stop before the last, however late.
    spec = spec_of(steps=1_000)
    elsewhere, whole, first, second = Told(), Told(), Told(), Told()
    plain = diagnostics.run(spec, report=elsewhere, control=NeverStop(), device="cpu")
    assert elsewhere.bundle is not None
    kept = kept_of(plain, spec, elsewhere.bundle)
    done = run(sandbox, spec, report=whole)
    store = MemoryStore()
    stopped = run(sandbox, spec, report=first, stop_at=5, store=store)
    assert stopped.state == Job.QUEUED
    assert store.kept is not None
    resumed = run(sandbox, spec, report=second, store=store)
    assert losses(elsewhere) == losses(whole)
    assert losses(whole)[-1] == losses(second)[-1]
    assert second.points[0][0] > 1
    for result in (done, resumed):
        assert result.state == Job.SUCCEEDED
        assert result.kept is not None
        assert result.kept.weights is not None
        assert kept.weights is not None
        assert result.kept.weights.keys() == kept.weights.keys()
        for name, tensor in kept.weights.items():
            assert torch.equal(result.kept.weights[name], tensor)
        assert result.kept.description == kept.description
        assert result.kept.shown.keys() == kept.shown.keys()
    assert whole.facts is not None
    assert whole.facts["digest"] == elsewhere.bundle.digest


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("is_far", [False, True])
def test_a_job_reads_its_projects_data(
    is_far: bool, is_old: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    """In all its processes; also what was stored before the project had a prefix."""
    local = tmp_path / "blobs"
    part = local if is_old else local / "projects" / "vision"
    column = [float(row) for row in range(60)]
    info = store_table(part, {"x": column, "y": column[::-1]})
    blobs = str(local)
    if is_far:
        blobs = f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").put(f"{local}/", f"/{tmp_path.name}/", recursive=True)
    spec = job_on(
        info,
        "regression",
        {"target": "y"},
        model={"plugin": "plain"},
        training={"steps": 3, "batch_size": 16},
        outputs={"model": False, "plots": False},
        resources={"processes": 2},
    )
    its_own = Sandbox(Settings(blobs=blobs, data_cache=tmp_path / "cache"))
    told = Told()
    with closing(its_own), pytest.MonkeyPatch.context() as patch:
        # Of the worker, which fetches what is far.
        patch.setenv("TALWEG_DATA_CACHE", str(tmp_path / "cache"))
        with JobStore("vision", (info.digest,) if is_old else ()).used():
            result = run(its_own, spec, report=told)
        with JobStore("speech").used():
            other = run(its_own, spec)
    assert result.state == Job.SUCCEEDED, result.message
    assert told.steps == 3
    assert other.state == Job.FAILED
    assert "is gone from the store" in other.message


def test_ranks_meet_in_the_sandbox(sandbox: Sandbox) -> None:
    told = Told()
    result = run(sandbox, spec_of(steps=5, processes=2), report=told)
    assert result.state == Job.SUCCEEDED, result.message
    assert told.steps == 5
