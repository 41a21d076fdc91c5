"""Whole stacks for tests that need every part."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests._plugins import install_example
from tests.integration.stack import Stack, start_stack

_running: list[Stack] = []


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example plug-in is installed for the shared stack."""
    folder = tmp_path_factory.mktemp("site")
    install_example(folder)
    return folder


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Iterator[Stack]:
    """A stack that tests share; one takes 15 s of a core to start and to warm up.

    They may kill and stop its parts as long as all come back. Its leases are long enough for a
    busy machine, and short enough to wait for their end.
    """
    folder = tmp_path_factory.mktemp("stack")
    stack = start_stack(
        folder,
        TALWEG_DATA_ROOTS=str(folder / "root"),
        TALWEG_LEASE_SECONDS="10",
        PYTHONPATH=str(site),
    )
    _running.append(stack)
    yield stack
    stack.stop()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    # The processes of an idle stack take their share of the machine from the tests that follow.
    if nextitem is None or not nextitem.path.is_relative_to(Path(__file__).parent):
        while _running:
            _running.pop().stop()
