import os
from pathlib import Path

import pytest

from talweg.deploy.services import gpus

LISTING = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aa11-1)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bb22)
  MIG 3g.40gb     Device  0: (UUID: MIG-cc33)
  MIG 3g.40gb     Device  1: (UUID: MIG-dd44)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-ee55)
"""
SEEN = ["GPU-aa11-1", "MIG-cc33", "MIG-dd44", "GPU-ee55"]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose nvidia-smi lists GPUs, and a torch that can use them."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'EOF'\n{LISTING}EOF\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(gpus, "_torch_has_cuda", lambda: True)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, SEEN),
        ("1,0", ["1", "0"]),
        ("GPU-aa11-1", ["GPU-aa11-1"]),
        ("0,-1,1", ["0"]),
        ("-1", []),
        ("", []),
    ],
)
def test_one_worker_a_visible_gpu(visible: str | None, expected: list[str]) -> None:
    env = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert gpus.visible_gpus(env) == expected


def test_a_divided_gpu_stands_as_its_parts() -> None:
    assert gpus.parse_listing(LISTING) == SEEN


def test_a_machine_without_a_driver_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "_PROC", tmp_path / "none")
    monkeypatch.setattr(gpus, "_torch_has_cuda", lambda: True)
    assert gpus.visible_gpus({}) == []
    assert gpus.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == []


@pytest.mark.usefixtures("driver")
def test_a_torch_for_the_cpu_uses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0+cpu")
    assert gpus.visible_gpus({}) == []
