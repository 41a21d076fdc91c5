"""Weights of models, uploaded as safetensors files."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save
from tests.server.ingest.parts import ingest, read

from talweg.v1.datasets_pb2 import ReadOptions

LINEAR = {
    "linear1.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "linear1.bias": np.zeros(2, np.float32),
    "norm.num_batches_tracked": np.array(7),
}


def test_tensors_of_any_shapes_are_stored_as_they_are(tmp_path: Path) -> None:
    result = read(tmp_path, save(LINEAR), "trunk.safetensors")
    assert result.info.options.format == ReadOptions.weights
    arrays = load_file(result.folder / "data.safetensors")
    assert arrays.keys() == LINEAR.keys()
    for name, array in LINEAR.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    assert {c.name: list(c.shape) for c in result.info.columns} == {
        "linear1.bias": [2],
        "linear1.weight": [2, 3],
        "norm.num_batches_tracked": [],
    }
    assert result.info.num_samples == 0


def test_names_tell_weights_from_data_unless_the_format_does(tmp_path: Path) -> None:
    data = {"x": np.ones((3, 2), np.float32), "y": np.ones(3, np.float32)}
    plain = read(tmp_path / "1", save(data), "data.safetensors")
    assert plain.info.options.format == ReadOptions.safetensors
    asked = read(tmp_path / "2", save(data), "data.safetensors", format="weights")
    assert asked.info.options.format == ReadOptions.weights
    assert plain.info.digest != asked.info.digest
    same = {"a.weight": np.ones((3, 2), np.float32)}
    as_data = read(tmp_path / "3", save(same), "data.safetensors", format="safetensors")
    assert as_data.info.num_samples == 3


def test_halves_become_float32_exactly(tmp_path: Path) -> None:
    half = np.array([0.5, -3.25, 65504], np.float16)
    # The upper halves of 1, -2.5 and 3e38 as float32.
    upper = np.array([0x3F80, 0xC020, 0x7F62], "<u2")
    header = {
        "a.weight": {"dtype": "F16", "shape": [3], "data_offsets": [0, 6]},
        "b.weight": {"dtype": "BF16", "shape": [3, 1], "data_offsets": [6, 12]},
    }
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + half.tobytes() + upper.tobytes()
    result = read(tmp_path, content, "halves.safetensors")
    arrays = load_file(result.folder / "data.safetensors")
    np.testing.assert_array_equal(arrays["a.weight"], half.astype(np.float32))
    wanted = (upper.astype(np.uint32) << 16).view(np.float32).reshape(3, 1)
    np.testing.assert_array_equal(arrays["b.weight"], wanted)
    assert list(wanted[:2, 0]) == [1, -2.5]
    assert list(result.info.warnings) == ['stored as float32: "a.weight", "b.weight"']


@pytest.mark.parametrize(
    ("tensors", "place", "found"),
    [
        (
            {"a.weight": np.array([1, np.nan, np.inf], np.float32)},
            'tensor "a.weight"',
            "2 values that are NaN or infinite",
        ),
        (
            {"a.weight": np.ones(2, np.float32), "b": np.ones(2, np.uint64)},
            'tensor "b"',
            "values of the type U64",
        ),
        (
            {"a.weight": np.ones([1] * 9, np.float32)},
            'tensor "a.weight"',
            "9 dimensions",
        ),
        (
            {"a.weight": np.ones(1, np.float32), "b\x1b": np.ones(1, np.float32)},
            "tensor",
            'the name "b\\x1b"',
        ),
    ],
)
def test_what_is_no_weights_is_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], place: str, found: str
) -> None:
    (problem,) = ingest(tmp_path, save(tensors), "w.safetensors").problems
    assert (problem.place, problem.found) == (place, found)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    content = save(LINEAR)
    for number, part in enumerate((content[:-1], content[:20], b"")):
        assert ingest(tmp_path / str(number), part, "w.safetensors").problems
