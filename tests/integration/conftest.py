"""Whole stacks for tests that need every part."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.stack import Stack, start_stack

_running: list[Stack] = []


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that tests share and leave whole."""
    folder = tmp_path_factory.mktemp("stack")
    stack = start_stack(folder, TALWEG_DATA_ROOTS=str(folder / "root"))
    _running.append(stack)
    yield stack
    stack.stop()


@pytest.fixture(scope="session")
def fragile_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose parts tests may kill or stop, as long as they come back; leases of 3 s."""
    stack = start_stack(tmp_path_factory.mktemp("fragile"), TALWEG_LEASE_SECONDS="3")
    _running.append(stack)
    yield stack
    stack.stop()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    # The processes of an idle stack take their share of the machine from the tests that follow.
    if nextitem is None or not nextitem.path.is_relative_to(Path(__file__).parent):
        while _running:
            _running.pop().stop()
