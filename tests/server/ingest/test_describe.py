"""What is told of columns, against NumPy; and what is worth knowing before training."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.server.ingest.parts import npz, read


def test_numbers_are_measured_as_numpy_does(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(3, 2, 999)
    content = "\n".join(["x", *map(repr, map(float, numbers))]).encode()
    column = read(tmp_path, content).column("x")
    assert column.mean == pytest.approx(numbers.mean())
    assert column.sd == pytest.approx(numbers.std())
    assert (column.min, column.max) == (numbers.min(), numbers.max())
    quantiles = np.quantile(numbers, [0.05, 0.25, 0.5, 0.75, 0.95])
    assert list(column.quantiles) == pytest.approx(list(quantiles))
    assert list(column.histogram) == list(np.histogram(numbers, 20)[0])
    assert column.num_distinct == 999


def test_bytes_are_measured_by_counts_as_numpy_does(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(3, 200, (11, 1, 7, 5), np.uint8)
    column = read(tmp_path, npz(image=image), "t.npz").column("image")
    assert column.mean == pytest.approx(image.mean())
    assert column.sd == pytest.approx(image.std())
    quantiles = np.quantile(image, [0.05, 0.25, 0.5, 0.75, 0.95])
    assert list(column.quantiles) == pytest.approx(list(quantiles))
    assert sum(column.histogram) == image.size


def test_very_large_numbers_have_finite_measures(tmp_path: Path) -> None:
    column = read(tmp_path, b"x\n1.7e308\n-1.7e308\n1.5\n").column("x")
    assert np.isfinite([column.mean, *column.quantiles]).all()
    assert sum(column.histogram) == 3


def test_the_preview_has_the_first_rows(tmp_path: Path) -> None:
    lines = ["a,b", *[f"{row},{'x' * 500}" for row in range(40)]]
    info = read(tmp_path, "\n".join(lines).encode()).info
    assert len(info.preview) == 10
    first = json.loads(info.preview[0])
    assert first["a"] == 0
    assert len(first["b"]) == 200


def test_what_is_worth_knowing(tmp_path: Path) -> None:
    lines = ["id,one,x,again,kind"]
    for row in range(40):
        lines.append(f"{row},7,{row % 7}.5,{row % 7}.5,{'ab'[row % 2]}")
    warnings = "\n".join(read(tmp_path / "a", "\n".join(lines).encode()).info.warnings)
    assert 'one value alone in column "one"' in warnings
    assert 'column "again" equals "x"' in warnings
    assert 'column "id" has another value in each row' in warnings
    assert "repeat" not in warnings
    rows = ["x,kind", "1.5,a", "2.5,b", "1.5,a", "1.5,b", ",a", ",a"]
    warnings = "\n".join(read(tmp_path / "b", "\n".join(rows).encode()).info.warnings)
    assert "2 of 6 samples (33.3%) repeat an earlier one: rows 3, 6" in warnings


def test_samples_of_arrays_that_repeat(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    x[4] = x[1]
    y = np.array([0, 1, 0, 1, 1])
    warnings = read(tmp_path, npz(x=x, y=y), "t.npz").info.warnings
    assert any("1 of 5 samples (20.0%) repeat an earlier one: row 5" in each for each in warnings)
