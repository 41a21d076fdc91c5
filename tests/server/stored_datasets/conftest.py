"""A server's parts that read data by URIs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server.stored_datasets.sources import Sources, made


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[Sources]:
    """Parts whose root is a folder."""
    sources = made(tmp_path)
    yield sources
    sources.close()
