"""Damaged files are refused with a place, or read whole; nothing else comes of them."""

import random
import shutil
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.fuzz.files.samples import Sample, all_samples, broken, options
from tests.fuzz.seeds import SEED, chance, fixed_seed, new_seed, num_cases
from tests.server.ingest.parts import Result, ingest


def run(folder: Path, seed: int, cases: int) -> None:
    """Read damaged files, each in a folder of its own."""
    samples, refused = all_samples(), Counter[str]()
    for sample in samples:
        # What is damaged was whole before.
        check(read(folder, sample.content, sample.name, {}), sample.name)
    wrong: list[str] = []
    for case in range(cases):
        rng = chance(seed, case)
        sample = samples[case % len(samples)]
        name = _name(sample, samples, rng)
        try:
            result = read(folder, broken(sample, rng), name, options(rng))
            check(result, name)
        except Exception as exc:
            where = f"{SEED}={seed}: case {case}, {sample.name} as {name}"
            wrong.append(f"{where}: {exc!r}\n{traceback.format_exc()}")
            continue
        refused[sample.name] += bool(result.problems)
    print(f"{refused.total()} of {cases} refused: {dict(refused)}")
    assert not wrong, f"{len(wrong)} cases\n" + "\n".join(wrong[:5])
    assert refused.total() > cases / 10


def _name(sample: Sample, samples: list[Sample], rng: random.Random) -> str:
    """Return a file's name; one under another's is as common as a damaged one."""
    return rng.choice(samples).name if rng.random() < 0.1 else sample.name


def read(folder: Path, content: bytes, name: str, asked: dict[str, Any]) -> Result:
    """Read a file in a folder that is made anew."""
    shutil.rmtree(folder / "case", ignore_errors=True)
    return ingest(folder / "case", content, name, **asked)


def check(result: Result, where: str) -> None:
    for problem in result.problems:
        assert problem.place, where
        assert problem.found, where
        assert problem.allowed, where
    if not result.problems:
        # Weights have no samples.
        is_weights = result.info.options.format == result.info.options.weights
        assert is_weights or result.info.num_samples > 0, where
        assert result.info.columns, where
        assert (result.folder / "info.binpb").exists(), where


def test_some_damaged_files(tmp_path: Path) -> None:
    run(tmp_path, fixed_seed(), 100)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_thousands_of_damaged_files(tmp_path: Path) -> None:
    seed = new_seed()
    print(f"{SEED}={seed}")
    run(tmp_path, seed, num_cases(3_000))
