"""Whole stacks for tests that need every part."""

from collections.abc import Iterator

import pytest
from tests.integration.stack import Stack, start_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that tests share and leave whole."""
    stack = start_stack(tmp_path_factory.mktemp("stack"))
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def fragile_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose parts tests may kill; leases of 3 s."""
    stack = start_stack(tmp_path_factory.mktemp("fragile"), TALWEG_LEASE_SECONDS="3")
    yield stack
    stack.stop()
