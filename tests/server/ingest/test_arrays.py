"""Arrays of NumPy and safetensors, as they are stored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save
from tests.server.ingest.parts import Result, npy, npz, read, tar


def stored(result: Result) -> dict[str, Any]:
    arrays: dict[str, Any] = load_file(result.folder / "data.safetensors")
    return arrays


def test_arrays_are_stored_by_their_names(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(7, 3)).astype(np.float32)
    image = generator.integers(0, 256, (7, 3, 4, 5), np.uint8)
    y = np.array([0, 1, 2, 0, 1, 2, 2])
    content = npz(x=x, image=image, y=y, kind=np.array(list("abcabca")))
    result = read(tmp_path, content, "t.npz")
    arrays = stored(result)
    np.testing.assert_array_equal(arrays["x"], x)
    np.testing.assert_array_equal(arrays["image"], image)
    np.testing.assert_array_equal(arrays["y"], y)
    np.testing.assert_array_equal(arrays["kind"], [0, 1, 2, 0, 1, 2, 0])
    assert result.types == {"x": "NUMBER", "image": "INTEGER", "y": "INTEGER", "kind": "CATEGORY"}
    assert [list(c.shape) for c in result.info.columns] == [[3], [3, 4, 5], [], []]
    assert [c.dtype for c in result.info.columns] == ["float32", "uint8", "int64", "int64"]
    assert [(v.value, v.count) for v in result.column("y").values] == [
        ("0", 2),
        ("1", 2),
        ("2", 3),
    ]
    assert len(result.info.pictures) == 7


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.arange(6, dtype=">i4").reshape(3, 2), "int32"),
        (np.asfortranarray(np.arange(6.0).reshape(3, 2)), "float64"),
        (np.ones((3, 2), np.float16), "float32"),
        (np.ones((3, 2), np.uint16), "int32"),
        (np.ones((3, 2), np.uint64), "int64"),
        (np.ones((3, 2), bool), "bool"),
        (np.ones((3, 2), np.longdouble), "float64"),
        (np.array([1.0, 2.0, 3.0]), "int64"),
        (np.array([1.5, 2.0, np.nan]), "float64"),
        (np.array(["2020-01-01"] * 3, "M8[D]"), "int64"),
    ],
)
def test_types_of_arrays(tmp_path: Path, array: Any, dtype: str) -> None:
    result = read(tmp_path, npy(array), "t.npy")
    arrays = stored(result)
    assert str(arrays["x"].dtype) == dtype == result.column("x").dtype
    if array.dtype.kind != "M":
        np.testing.assert_array_equal(arrays["x"], array.astype(dtype))


def test_what_is_not_finite_is_counted_with_its_samples(tmp_path: Path) -> None:
    x = np.ones((30, 2), np.float32)
    x[[3, 29], 1] = np.nan, np.inf
    column = read(tmp_path, npz(x=x), "t.npz").column("x")
    assert (column.num_non_finite, list(column.non_finite_rows)) == (2, [3, 29])
    assert (column.min, column.max) == (1, 1)


def test_safetensors(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(3, 2), "y": np.array([0, 1, 1])}
    result = read(tmp_path, save(arrays), "t.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(stored(result)[name], array)


def test_a_folder_of_npy_files(tmp_path: Path) -> None:
    content = tar({"data/x.npy": npy(np.zeros((4, 2))), "data/y.npy": npy(np.arange(4))})
    assert read(tmp_path, content, "t.tar").types == {"x": "NUMBER", "y": "INTEGER"}


def test_compressed_and_plain_archives_are_the_same_data(tmp_path: Path) -> None:
    import io

    sink = io.BytesIO()
    np.savez_compressed(sink, x=np.arange(50.0))
    first = read(tmp_path / "a", sink.getvalue(), "t.npz")
    second = read(tmp_path / "b", npz(x=np.arange(50.0)), "t.npz")
    assert first.info.digest == second.info.digest


@pytest.mark.parametrize(
    ("shape", "is_said"), [((8, 9, 3), True), ((3, 8, 9), False), ((1, 8, 1), False)]
)
def test_images_whose_channels_stand_last_are_said(
    tmp_path: Path, shape: tuple[int, ...], is_said: bool
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, *shape), np.uint8)
    warnings = read(tmp_path, npz(x=x, y=np.arange(5)), "t.npz").info.warnings
    assert any("x.transpose(0, 3, 1, 2)" in text for text in warnings) == is_said
