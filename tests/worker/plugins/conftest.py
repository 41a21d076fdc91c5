"""Packages of plug-ins, installed for one test."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests._plugins import write_package

Install = Callable[..., None]
_number = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package of one module: its code, and its entry points by group and name."""
    modules = []

    def install(code: str, entry_points: dict[str, str], *, module: str = "") -> None:
        # A module of its own for each, which the imports of others cannot have left.
        module = module or f"own_plugin_{next(_number)}"
        folder = tmp_path / module
        write_package(folder, module, code, entry_points)
        monkeypatch.syspath_prepend(folder)
        modules.append(module)

    yield install
    for module in modules:
        sys.modules.pop(module, None)
