"""Data that are larger than memory: the same results from files, batch by batch."""

import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.worker.data.stored.storing import job_on, store_table
from tests.worker.data.stored.test_jobs import (
    CONVNET,
    LABELS,
    ROLES,
    UNET,
    images,
    iris_with_gaps,
    scenes,
)
from tests.worker.training.jobs import run
from tests.worker.training.killing import assert_exact_when_killed, assert_same_weights, points_of

from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import DataColumn
from talweg.worker import tasks
from talweg.worker.data import large, loading
from talweg.worker.data.bundle import StandardScaler
from talweg.worker.data.preprocessing import split_of
from talweg.worker.data.stored.arrays import role_array
from talweg.worker.data.stored.opening import open_dataset
from talweg.worker.errors import StoreAwayError
from talweg.worker.training.batching.batches import Batches, Order, Plan
from talweg.worker.training.evaluation import HeldSplit

RAW = {"preprocessing": {"standardise_inputs": False}}
# Else some steps are told of, as time goes by.
EACH_STEP = {"log_every_steps": 1}


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take arrays above a kilobyte for large, in pieces of a few rows."""
    monkeypatch.setattr(large, "MOST_IN_MEMORY", 1000)
    monkeypatch.setattr(large, "_PIECE", 5000)
    monkeypatch.setattr(loading, "_cache", loading.BundleCache())


def in_memory(spec: JobSpec) -> Any:
    """Run a job as where all data fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "MOST_IN_MEMORY", 2**40)
        patch.setattr(loading, "_cache", loading.BundleCache())
        return run(spec, may_be_unwell=True)


@pytest.mark.parametrize(
    ("make", "task", "roles", "fields"),
    [
        (images, "multiclass", LABELS, {"model": CONVNET, "loss": "cross_entropy", **RAW}),
        (iris_with_gaps, "multiclass", ROLES, {"loss": "cross_entropy", **RAW}),
        (scenes, "segmentation", {}, {"model": UNET, "loss": "dice", **RAW}),
        (
            scenes, "detection", {},
            {"model": {"detector": {"channels": [8]}}, "loss": "detection", **RAW},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_a_job_ends_as_it_would_in_memory(
    make: Any, task: Any, roles: Any, fields: Any, store: Path, little_memory: None
) -> None:
    training = {"epochs": 2, "batch_size": 16, "accumulation": 2, **EACH_STEP}
    spec = job_on(make(store), task, roles, **{"training": training, **fields})
    bundle = loading.make(spec)
    assert any(large.is_large(array.nbytes) for array in bundle.train.arrays.values())
    wanted, reported = in_memory(spec)
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED
    assert_same_weights(result, wanted)
    assert points_of(report) == points_of(reported)


def test_batches_are_on_the_device_and_the_part_in_one_place(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"model": {"detector": {"channels": [8]}}, "loss": "detection"}
    spec = job_on(scenes(store), "detection", {}, training={"batch_size": 16}, **fields)
    bundle, meta = loading.make(spec), torch.device("meta")
    task = tasks.make(spec, bundle)
    assert _devices(HeldSplit.of(bundle.train, task, meta).arrays) == {"meta"}
    sizes = {name: array.nbytes for name, array in task.arrays(bundle.train).items()}
    # Which objects learn their boxes, the target tells: these two must be in one place.
    monkeypatch.setattr(large, "MOST_IN_MEMORY", sizes["target"])
    assert large.is_large(sizes["target_boxes"])
    held = HeldSplit.of(bundle.train, task, meta)
    assert _devices(held.arrays) == {"cpu"}
    assert _devices(held.batch(0, 4).arrays) == {"meta"}
    plan = Plan.of(spec.training, len(held), sums=False)
    batches = Batches(held.arrays, plan, device=held.device)
    for window in batches.of_epoch(Order(0)):
        assert [_devices(batch.arrays) for batch in window] == [{"meta"}]


def _devices(arrays: Mapping[str, torch.Tensor]) -> set[str]:
    return {array.device.type for array in arrays.values()}


def test_a_killed_job_goes_on_where_it_was(
    store: Path, tmp_path: Path, little_memory: None
) -> None:
    spec = job_on(
        images(store), "multiclass", LABELS, model=CONVNET, loss="cross_entropy",
        training={"epochs": 3, "batch_size": 16, **EACH_STEP},
    )  # fmt: skip
    assert_exact_when_killed(spec, tmp_path / "checkpoints", 0, run(spec))


def test_means_and_deviations_of_pieces(little_memory: None) -> None:
    rng = np.random.default_rng(0)
    parts = [1e3 + rng.normal(size=(count, 3)) for count in (500, 700)]
    parts[0][:, 1] = parts[1][:, 1] = 0.1
    whole = np.concatenate(parts)
    mean, sd = large.mean_and_sd(parts, by_column=True)
    np.testing.assert_allclose(mean, whole.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(sd[[0, 2]], whole.std(axis=0)[[0, 2]], rtol=1e-12)
    mean, sd = large.mean_and_sd(parts, by_column=False)
    np.testing.assert_allclose([mean, sd], [whole.mean(), whole.std()], rtol=1e-12)


def test_inputs_are_standardised(store: Path, little_memory: None) -> None:
    spec = job_on(images(store), "multiclass", LABELS, model=CONVNET, loss="cross_entropy")
    x = loading.make(spec).train.x.double()
    assert float(x.mean()) == pytest.approx(0, abs=1e-6)
    assert float(x.std(correction=0)) == pytest.approx(1, rel=1e-6)


def test_a_file_has_no_name_and_goes_with_its_array(tmp_path: Path, little_memory: None) -> None:
    array = large.empty((1000, 4), np.float32)
    array[:] = 1
    assert list((tmp_path / "cache").iterdir()) == []
    assert _mapped(tmp_path) == 1
    view = torch.from_numpy(array)[10:]
    del array
    assert float(view.sum()) == 3960
    del view
    assert _mapped(tmp_path) == 0


def _mapped(folder: Path) -> int:
    return len(_mappings(folder))


def _mappings(folder: Path) -> list[int]:
    """Return the sizes of the files of a folder that this process maps."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ends = [line.split()[0].split("-") for line in lines if str(folder) in line]
    return [int(end, 16) - int(start, 16) for start, end in ends]


@pytest.mark.parametrize(
    ("is_table", "standardise", "copies"), [(False, False, 2), (False, True, 3), (True, True, 5)]
)
def test_files_take_the_room_that_the_docs_say(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    is_table: bool, standardise: bool, copies: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(0)
    fields: dict[str, Any] = {"preprocessing": {"standardise_inputs": standardise}}
    if is_table:
        columns = {f"x{i}": rng.normal(size=10_000).tolist() for i in range(10)}
        stored = store_table(store, columns | {"y": rng.normal(size=10_000).tolist()})
        spec = job_on(stored, "regression", {"target": "y"}, **fields)
    else:
        spec = job_on(images(store), "multiclass", LABELS, model=CONVNET, **fields)
    monkeypatch.setattr(large, "MOST_IN_MEMORY", 10_000)
    rooms = [0]

    def measured(*arguments: Any) -> Any:
        array = empty(*arguments)
        rooms.append(sum(_mappings(tmp_path / "cache")))
        return array

    empty = large.empty
    monkeypatch.setattr(large, "empty", measured)
    bundle = loading.make(spec)
    once = sum(part.x.nbytes for part in (bundle.train, bundle.validation, bundle.test))
    assert max(rooms) / once == pytest.approx(copies, rel=0.2)


def test_masks_and_depths_are_mapped_too(store: Path, tmp_path: Path, little_memory: None) -> None:
    spec = job_on(scenes(store), "segmentation", {}, model=UNET, loss="dice", **RAW)
    columns = open_dataset(spec.dataset.stored).columns
    described = {"mask": DataColumn(name="mask", max=2), "depth": DataColumn(name="depth")}
    made = {role: role_array(columns, role, column) for role, column in described.items()}
    assert _mapped(tmp_path / "cache") == len(made)
    for role, dtype in (("mask", np.uint8), ("depth", np.float32)):
        np.testing.assert_array_equal(made[role], columns.array(role).astype(dtype))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.bool_, np.float32, np.float64])
def test_numbers_of_any_type_are_standardised(dtype: Any, little_memory: None) -> None:
    values = np.arange(2000).reshape(1000, 2).astype(dtype)
    scaler = StandardScaler.of(values.astype(np.float64))
    wanted = scaler.scale(values.astype(np.float64)).astype(np.float32)
    scaled = split_of({"x": values}, {"x": scaler}, "x").x
    np.testing.assert_array_equal(scaled.numpy(), wanted)
    whole = np.issubdtype(dtype, np.integer)
    kept = split_of({"x": values}, {}, "x").x
    assert kept.dtype == (torch.int64 if whole else torch.float32)
    np.testing.assert_array_equal(kept.numpy(), values)


@contextmanager
def small_files() -> Iterator[None]:
    """Let this process write no large files, as on a disk without room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_without_room_is_told(little_memory: None) -> None:
    with small_files(), pytest.raises(StoreAwayError, match="16,000 bytes.*TALWEG_DATA_CACHE"):
        large.empty((1000, 4), np.float32)


LIMITED = """
import resource, sys
import numpy as np
from talweg.worker.data import large
large.MOST_IN_MEMORY = 20 << 20
_, hard = resource.getrlimit(resource.RLIMIT_DATA)
used = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (80 << 20), hard))
pixels = large.empty((1000, 100, 1000), np.uint8)
try:
    pixels.astype(np.float32)
    sys.exit("there is no limit")
except MemoryError:
    pass
pixels[:] = np.arange(1000, dtype=np.int64)[:, None, None] % 251
floats = large.converted(pixels[:400], np.float32, lambda rows: rows.astype(np.float32) / 255)
order = np.arange(399, -1, -1)
turned = large.rows_of(floats, order)
mean, sd = large.mean_and_sd([turned], by_column=False)
wanted = (np.arange(400) % 251) / 255
assert abs(mean - wanted.mean()) < 1e-6 and abs(sd - wanted.std()) < 1e-6
assert np.allclose(turned[:, 0, 0], wanted[::-1])
"""


def test_arrays_take_no_memory_of_the_process(tmp_path: Path) -> None:
    """160 MB of floats are made, turned around and measured within 80 MB."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
