"""A checkpoint's files: what is read is what was written, or is seen not to be."""

import json
import math
from pathlib import Path

import pytest
import torch

from talweg.blobs import Blobs
from talweg.worker.training import Snapshot
from talweg.worker.training.state import checkpoint_files
from talweg.worker.training.state.checkpoint_files import DamagedError

NAME = "jobs/a/checkpoints/000000000007-1"


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "folder":
        return Blobs(str(tmp_path / "blobs"))
    return Blobs(f"memory://{tmp_path.name}")


def snapshot() -> Snapshot:
    whole = torch.arange(12, dtype=torch.float32)
    return Snapshot(
        {
            "model/a": whole[:4].view(2, 2),
            "model/b": whole[4:].view(4, 2).t(),
            "model/scalar": torch.tensor(0.1, dtype=torch.float64),
            "model/none": torch.empty(0, 3),
            "random/cpu": torch.get_rng_state(),
            "optimizer/half": torch.tensor([1.5, math.nan, math.inf], dtype=torch.bfloat16),
        },
        {"state": {"losses": [0.1, 1e-300, 1 / 3], "best": math.nan, "top": -math.inf, "n": 7}},
    )


def test_what_is_read_is_what_was_written(blobs: Blobs) -> None:
    kept = snapshot()
    size = checkpoint_files.write(blobs, NAME, kept, {"step": 7, "told": {"x": {"best": 0.1}}})
    found = checkpoint_files.read(blobs, NAME)
    assert found.facts["step"] == 7
    assert found.facts["told"] == {"x": {"best": 0.1}}
    assert found.facts["tensors"]["bytes"] == size
    assert found.snapshot.tensors.keys() == kept.tensors.keys()
    for name, tensor in kept.tensors.items():
        read = found.snapshot.tensors[name]
        assert (read.dtype, read.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(read.nan_to_num(9), tensor.nan_to_num(9)), name
    state, read_state = kept.values["state"], found.snapshot.values["state"]
    assert math.isnan(read_state["best"])
    assert {**read_state, "best": 0} == {**state, "best": 0}
    assert sorted(blobs.names("jobs/a/checkpoints")) == [
        "000000000007-1.json",
        "000000000007-1.safetensors",
    ]


def test_the_document_is_plain_json(blobs: Blobs) -> None:
    checkpoint_files.write(blobs, NAME, snapshot(), {"step": 7})

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    document = json.loads(blobs.read(NAME + ".json"), parse_constant=refuse)
    assert document["format"] == 1


@pytest.mark.parametrize("ending", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["changed", "cut", "empty", "missing"])
def test_damage_is_seen(blobs: Blobs, ending: str, damage: str) -> None:
    checkpoint_files.write(blobs, NAME, snapshot(), {"step": 7})
    content = blobs.read(NAME + ending)
    middle = len(content) // 2
    match damage:
        case "changed":
            other = bytes([content[middle] ^ 1])
            blobs.write(NAME + ending, content[:middle] + other + content[middle + 1 :])
        case "cut":
            blobs.write(NAME + ending, content[:middle])
        case "empty":
            blobs.write(NAME + ending, b"")
        case "missing":
            blobs.remove(NAME + ending)
    with pytest.raises(DamagedError):
        checkpoint_files.read(blobs, NAME)


def test_of_a_file_that_could_not_be_written_nothing_is_left(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    # A folder where the file should be.
    (tmp_path / "a/b/inside").mkdir(parents=True)
    with pytest.raises(OSError, match="b"):
        blobs.write("a/b", b"content")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        Blobs("nowhere://bucket")
