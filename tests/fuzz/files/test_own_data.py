"""Jobs on files that were damaged and yet taken: they are refused, or end by no fault of ours."""

import os
import random
import shutil
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fuzz.files.samples import all_samples, broken
from tests.fuzz.seeds import SEED, chance, fixed_seed, new_seed, num_cases
from tests.fuzz.specs import pairs
from tests.fuzz.training import train
from tests.server.ingest.parts import ingest

from talweg.server.services.submission.stored_data import (
    KnownData,
    Version,
    _wanted,
    with_data,
)
from talweg.spec import SpecError, complete, from_dict
from talweg.spec.stored import DatasetName
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import StoredDataset

_MOST_DRAWS = 20
_ROLES = ("group", "time", "split", "difficulty", "id")
# Models of each task that take tables, and those that take images.
_PLAIN: tuple[Any, ...] = ("linear", {"mlp": {"hidden": [4]}})
_MODELS: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
    "regression": (_PLAIN, ()),
    "binary": (_PLAIN, ({"convnet": {"channels": [2]}},)),
    "multiclass": (_PLAIN, ({"convnet": {"channels": [2]}}, "linear")),
    "multilabel": (_PLAIN, ()),
    "ordinal": (_PLAIN, ()),
    "segmentation": ((), ({"unet": {"channels": [2]}},)),
    "image_translation": ((), ({"unet": {"channels": [2]}},)),
    "detection": ((), ("detector",)),
    "metric_learning": (("embedder",), ("embedder",)),
    "self_supervised": (("embedder",), ("embedder",)),
    "vae": (("autoencoder",), ("autoencoder",)),
    "gan": (("adversarial",), ("adversarial",)),
}
_WITHOUT_TARGET = ("self_supervised", "gan", "vae", "segmentation", "detection")


@contextmanager
def blobs(folder: Path) -> Iterator[Path]:
    """Have workers look for stored data in a folder."""
    folder.mkdir()
    before = os.environ.get("TALWEG_BLOBS")
    os.environ["TALWEG_BLOBS"] = str(folder)
    try:
        yield folder
    finally:
        del os.environ["TALWEG_BLOBS"]
        if before is not None:
            os.environ["TALWEG_BLOBS"] = before


def job_on(info: StoredDataset, rng: random.Random) -> JobSpec:
    """Draw a job on a data set, which need not fit it.

    Raises:
        SpecError: It cannot even be read.
    """
    names = [column.name for column in info.columns]
    is_image = any(len(column.shape) > 1 for column in info.columns)
    task = rng.choice([name for name, kind in _MODELS.items() if kind[is_image]])
    roles = {role: rng.choice(names) for role in _ROLES if rng.random() < 0.1}
    if task not in _WITHOUT_TARGET and rng.random() < 0.9:
        likely = [name for name in names if name in ("label", "town", "rooms", "y")] or names
        roles["target"] = rng.choice(likely if rng.random() < 0.8 else names)
    model = rng.choice(_MODELS[task][is_image])
    loss = rng.choice([loss for of_task, loss in pairs() if of_task == task])
    content: dict[str, Any] = {
        "task": task,
        "dataset": {"stored": {"name": "own", **roles}},
        "model": model,
        "loss": loss,
        "training": {"steps": rng.choice([1, 3]), "batch_size": rng.choice([2, 8, 100])},
        "split": rng.choice([{}, {"folds": 2, "fold": 1}, {"validation": 0, "test": 0}]),
    }
    return from_dict(content, JobSpec, path="")


def submitted(info: StoredDataset, rng: random.Random) -> JobSpec | None:
    """Check a job as the server does; None where it refuses it, with reasons."""
    try:
        spec = job_on(info, rng)
    except SpecError:
        return None
    name = _wanted(spec, {})
    assert name is not None
    known = KnownData({name: Version(DatasetName("own", info.digest), info)}, {})
    whole, violations = with_data(spec, known)
    if not violations:
        _, violations, _ = complete(whole)
    assert all(each.description for each in violations)
    return None if violations else whole


def run(folder: Path, seed: int, cases: int) -> None:
    """Read files, damaged and whole, and train on those that are taken."""
    torch.set_num_threads(1)
    samples = [each for each in all_samples() if not each.name.startswith("w.")]
    ends, wrong = Counter[str](), list[str]()
    with blobs(folder / "blobs") as store:
        for case in range(cases):
            rng = chance(seed, case)
            sample = samples[case % len(samples)]
            content = sample.content if rng.random() < 0.4 else broken(sample, rng)
            where = f"{SEED}={seed}: case {case}, {sample.name}"
            shutil.rmtree(folder / "case", ignore_errors=True)
            shutil.rmtree(store / "datasets", ignore_errors=True)
            try:
                result = ingest(folder / "case", content, sample.name)
                if result.problems:
                    ends["file refused"] += 1
                    continue
                shutil.copytree(result.folder, store / "datasets" / result.info.digest)
                # The first of some draws that fits what the file holds.
                drawn = (submitted(result.info, rng) for _ in range(_MOST_DRAWS))
                spec = next(filter(None, drawn), None)
                if spec is None:
                    ends["jobs refused"] += 1
                    continue
                end = train(case, spec, folder / f"spool-{case}")
            except Exception as exc:
                wrong.append(f"{where}: {exc!r}\n{traceback.format_exc()}")
                continue
            ends[f"{end.state} {end.cause}".strip()] += 1
            if end.is_fault:
                wrong.append(f"{where}: {end.message}\n{end.traceback}\n{spec}")
    print(dict(ends))
    assert not wrong, f"{len(wrong)} cases\n" + "\n".join(wrong[:5])
    assert ends["SUCCEEDED"] > cases / 20


def test_some_jobs_on_damaged_files(tmp_path: Path) -> None:
    run(tmp_path, fixed_seed(), 20)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_many_jobs_on_damaged_files(tmp_path: Path) -> None:
    seed = new_seed()
    print(f"{SEED}={seed}")
    run(tmp_path, seed, num_cases(2_000))
