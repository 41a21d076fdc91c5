"""Servers that ask for tokens."""

from pathlib import Path

import pytest
from tests.server.conftest import Running, Start
from tests.server.identity.teams import Teams


@pytest.fixture
async def guarded(start: Start, tmp_path: Path) -> Running:
    """A server that asks for tokens."""
    return await start(
        authentication="token",
        token_key_file=tmp_path / "key",
        admin_token_file=tmp_path / "admin",
        worker_token_file=tmp_path / "worker",
    )


@pytest.fixture
def teams(guarded: Running, tmp_path: Path) -> Teams:
    """That server, and those who call it."""
    return Teams(guarded, tmp_path)
