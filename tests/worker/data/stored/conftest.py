"""A blob store for each test."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the worker looks for stored data."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    monkeypatch.setenv("TALWEG_BLOBS", str(folder))
    monkeypatch.setenv("TALWEG_DATA_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
