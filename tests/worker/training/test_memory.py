"""Memory that does not suffice ends a job, and leaves the process fit for the next."""

import re
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import pytest
import torch
from tests.worker.training.jobs import job, run

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training import memory

MIB = 2**20
CPU = torch.device("cpu")
FREE = 160 * MIB


def images(batch_size: int, **training: Any) -> JobSpec:
    """Activations of a quarter of a MiB a sample."""
    return job(
        task="multiclass",
        dataset="digits",
        loss="cross_entropy",
        model={"convnet": {"channels": [256, 256]}},
        training={"steps": 2, "batch_size": batch_size, **training},
    )


@pytest.fixture
def fresh() -> Iterator[ProcessPoolExecutor]:
    """A process in which no earlier test has left what a run could free, or use again."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield process


class Ended(NamedTuple):
    state: int
    cause: int
    message: str


def run_with_little_memory(spec: bytes) -> tuple[Ended, bool]:
    """Run a job where little is free, and say besides whether the bound is lifted afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_free", lambda: FREE)
        before = resource.getrlimit(resource.RLIMIT_DATA)
        result, _ = run(JobSpec.FromString(spec))
        lifted = resource.getrlimit(resource.RLIMIT_DATA) == before
    return Ended(result.state, result.cause, result.message), lifted


@pytest.mark.faults
def test_the_batch_size_that_is_named_fits(fresh: ProcessPoolExecutor) -> None:
    spec = images(1024, accumulation=2).SerializeToString()
    ended, lifted = fresh.submit(run_with_little_memory, spec).result()
    assert ended[:2] == (Job.FAILED, Outcome.OUT_OF_MEMORY)
    assert lifted
    named = re.search(r"training.batch_size (\d+) would fit.*accumulation (\d+) ", ended.message)
    assert named is not None, ended.message
    fits, instead = map(int, named.groups())
    assert 16 <= fits < 1024
    assert fits * instead == 1024 * 2
    # In the same process, under the same bound.
    spec = images(fits, accumulation=instead).SerializeToString()
    ended, _ = fresh.submit(run_with_little_memory, spec).result()
    assert ended.state == Job.SUCCEEDED, ended.message


def test_where_a_single_sample_is_too_much_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    # So much that what earlier tests have left in the heap, a hundred MiB, makes no difference.
    monkeypatch.setattr(memory, "_free", lambda: 4 * FREE)
    # 244 MiB of weights, and as many gradients, but not the moments besides.
    wide = {"mlp": {"hidden": [8000, 8000]}}
    result, _ = run(job(model=wide, training={"steps": 3}))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)
    assert "Even a single sample does not fit" in result.message


def test_weights_without_room_are_refused_before_they_are_filled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # There is room for 4 GiB of weights, but not for their gradients besides.
    monkeypatch.setattr(memory, "_free", lambda: 6 * 2**30)
    result, _ = run(job(model={"mlp": {"hidden": [2**15, 2**15]}}))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)
    assert "weights and their gradients take more than" in result.message
    # Filled, they would have been in use.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * MIB


def test_a_run_may_take_what_is_free_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free", lambda: FREE)
    with memory.bounded(CPU):
        left = memory.room(CPU)
        assert left is not None
        assert FREE / 2 < left <= FREE
        torch.empty(FREE // 2, dtype=torch.uint8)
        with pytest.raises(RuntimeError) as caught:
            torch.empty(2 * FREE, dtype=torch.uint8)
    assert memory.is_out_of_memory(caught.value)
    torch.empty(2 * FREE, dtype=torch.uint8)


def test_a_bound_that_stands_is_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    used = memory._used()
    assert used is not None
    lower = used + FREE
    resource.setrlimit(resource.RLIMIT_DATA, (lower, before[1]))
    try:
        monkeypatch.setattr(memory, "_free", lambda: 100 * FREE)
        with memory.bounded(CPU):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == lower
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_the_machine_says_how_much_is_free() -> None:
    free = memory._free()
    assert free is not None
    assert 64 * MIB < free < 2**46


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_out_of_memory_names_a_batch_size_that_fits() -> None:
    from talweg.worker import training
    from talweg.worker.training import NeverStop, NullReporter

    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        spec = images(100_000)
        result = training.run(spec, report=NullReporter(), control=NeverStop(), device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert (result.state, result.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)
