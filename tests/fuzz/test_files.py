"""Damaged files are refused with a place, or read whole; nothing else comes of them."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from safetensors.numpy import save
from tests.fuzz.messages import damaged
from tests.fuzz.seeds import SEED, chance, fixed_seed, new_seed, num_cases
from tests.server.ingest.parts import arrow, image, ingest, npy, npz, parquet, tar

NUM_ROWS = 40


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "rooms": rng.integers(1, 9, NUM_ROWS),
            "area": rng.normal(80, 20, NUM_ROWS).round(2),
            "town": rng.choice(["Ay", "Bex", "Crans"], NUM_ROWS),
            "built": pd.date_range("1990-01-01", periods=NUM_ROWS, freq="90D").strftime(
                "%Y-%m-%d"
            ),
            "lift": rng.random(NUM_ROWS) < 0.5,
        }
    )


def _images() -> bytes:
    pictures = {f"{name}/{i}.png": image(seed=i) for name in ("cat", "dog") for i in range(3)}
    return tar(pictures)


def _files() -> dict[str, bytes]:
    frame, rng = _frame(), np.random.default_rng(1)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    x, y = rng.normal(size=(NUM_ROWS, 3)).astype(np.float32), np.arange(NUM_ROWS) % 2
    return {
        "t.csv": frame.to_csv(index=False).encode(),
        "t.tsv": frame.to_csv(index=False, sep="\t").encode("utf-16"),
        "t.parquet": parquet(table),
        "t.arrow": arrow(table),
        "t.feather": arrow(table, stream=True),
        "t.npy": npy(x),
        "t.npz": npz(x=x, y=y),
        "t.safetensors": save({"x": x, "y": y}),
        "t.tar": _images(),
    }


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _zeroed(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + bytes(len(data[start : start + 64])) + data[start + 64 :]


def _doubled(data: bytes, rng: random.Random) -> bytes:
    return data + data


def _lines_shuffled(data: bytes, rng: random.Random) -> bytes:
    lines = io.BytesIO(data).readlines()
    rng.shuffle(lines)
    return b"".join(lines)


_DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    damaged,
    damaged,
    _cut,
    _zeroed,
    _doubled,
    _lines_shuffled,
)


def run(folder: Path, seed: int, cases: int) -> None:
    """Read damaged files, each in a folder of its own."""
    files = list(_files().items())
    num_refused = 0
    for case in range(cases):
        rng = chance(seed, case)
        name, content = files[case % len(files)]
        broken = rng.choice(_DAMAGES)(content, rng)
        # A file under another's name is as common as a damaged one.
        name = rng.choice(files)[0] if rng.random() < 0.1 else name
        where = f"{SEED}={seed}: case {case}, {name}"
        try:
            result = ingest(folder / str(case), broken, name)
        except Exception as exc:
            raise AssertionError(where) from exc
        if result.problems:
            num_refused += 1
            for problem in result.problems:
                assert problem.place, where
                assert problem.found, where
                assert problem.allowed, where
        else:
            assert result.info.num_samples > 0, where
            assert result.info.columns, where
            assert (result.folder / "info.binpb").exists(), where
    print(f"{num_refused} of {cases} refused")
    assert num_refused > cases / 10


def test_some_damaged_files(tmp_path: Path) -> None:
    run(tmp_path, fixed_seed(), 90)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_thousands_of_damaged_files(tmp_path: Path) -> None:
    seed = new_seed()
    print(f"{SEED}={seed}")
    run(tmp_path, seed, num_cases(3_000))
