"""What the tests of sweeps leave behind is ended where it was begun: in their event loops."""

from collections.abc import AsyncIterator

import pytest
from tests.server.samples import Rules


@pytest.fixture(autouse=True)
async def _helpers_end(rules: Rules) -> AsyncIterator[None]:
    """Ends the processes that compute for the services."""
    yield
    await rules.statistics.close()
    await rules.search.close()
