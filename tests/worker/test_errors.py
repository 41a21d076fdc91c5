"""The worker's exceptions are one tree, and its drawing is complete."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import talweg.worker
from talweg.worker import errors
from talweg.worker.errors import WorkerError


def _modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(talweg.worker.__path__, "talweg.worker."):
        if not module.name.endswith("__main__"):
            yield module.name


def _exceptions() -> dict[str, type[BaseException]]:
    return {
        name: member
        for module in map(importlib.import_module, _modules())
        for name, member in vars(module).items()
        if isinstance(member, type)
        and issubclass(member, BaseException)
        and not issubclass(member, Warning)
        and member.__module__ == module.__name__
        # Stored beside models, it knows nothing of the worker.
        and name != "TableError"
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    """Each name of the drawing, and the name that it hangs on."""
    assert errors.__doc__ is not None
    parents, above = {}, [""]
    for line in errors.__doc__.splitlines():
        branch = re.match(r"([│ ]*(?:[├└]── )?)([A-Z]\w+Error)\b", line)
        if branch and (branch[1] or branch[2] == "WorkerError"):
            depth = len(branch[1]) // 4
            del above[depth + 1 :]
            parents[branch[2]] = above[depth]
            above.append(branch[2])
    return parents


def test_every_exception_of_the_worker_is_a_worker_error() -> None:
    strays = [n for n, error in _exceptions().items() if not issubclass(error, WorkerError)]
    assert strays == []


def test_the_drawing_shows_every_exception_under_its_base(drawn: dict[str, str]) -> None:
    bases = {name: error.__bases__[0].__name__ for name, error in _exceptions().items()}
    bases["WorkerError"] = ""
    assert drawn == bases
