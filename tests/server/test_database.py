"""What holds of connections and transactions over either database."""

from sqlalchemy import func, select
from tests.server.samples import Rules

from talweg.server.store.schema import jobs


async def test_reads_by_one_connection_see_one_state(rules: Rules) -> None:
    count = select(func.count()).select_from(jobs)
    await rules.submit()
    with rules.database.read() as connection:
        assert connection.scalar(count) == 1
        await rules.submit()
        assert connection.scalar(count) == 1
    with rules.database.read() as connection:
        assert connection.scalar(count) == 2
