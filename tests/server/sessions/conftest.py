"""Fixtures of sessions."""

from collections.abc import AsyncIterator

import pytest
from tests.server.samples import Rules


@pytest.fixture(autouse=True)
async def _statistics_end(rules: Rules) -> AsyncIterator[None]:
    yield
    await rules.statistics.close()
