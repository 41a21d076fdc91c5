"""What trials had reached when it was decided whether they go on."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.schema import trial_rungs


def passed(connection: Connection, sweep: int, trials: Sequence[int]) -> dict[int, int]:
    """Return how many rungs each of these trials has a value at."""
    statement = select(trial_rungs.c.trial, trial_rungs.c.rung).where(
        trial_rungs.c.sweep == sweep, trial_rungs.c.trial.in_(list(trials))
    )
    found: dict[int, int] = dict.fromkeys(trials, 0)
    for row in connection.execute(statement):
        found[row.trial] = max(found[row.trial], row.rung + 1)
    return found


def values(connection: Connection, sweep: int, search: int, rung: int) -> list[float]:
    """Return what the trials of a search have reached at a rung."""
    statement = select(trial_rungs.c.value).where(
        trial_rungs.c.sweep == sweep, trial_rungs.c.rung == rung, trial_rungs.c.search == search
    )
    return list(connection.scalars(statement))


def add(tx: Transaction, sweep: int, search: int, trial: int, rung: int, value: float) -> None:
    """Write down what a trial has reached at a rung."""
    add_all(tx, sweep, [(search, trial, rung, value)])


def add_all(tx: Transaction, sweep: int, new: Sequence[tuple[int, int, int, float]]) -> None:
    """Write down what trials have reached: their search, number, rung and value."""
    columns = [
        {"sweep": sweep, "search": search, "trial": trial, "rung": rung, "value": value}
        for search, trial, rung, value in new
    ]
    if columns:
        tx.connection.execute(insert(trial_rungs), columns)
