"""Lists of jobs: conditions, order, and pages that hold still while jobs arrive."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
)

from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.schema import jobs, metrics, tags
from talweg.server.store.record.scope import in_project

Operator = Literal["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True)
class Condition:
    """A comparison of one field with one value."""

    field: str
    """name, state, loss, task, experiment, worker, create_time, tags or metrics."""

    operator: Operator
    """The comparison."""

    value: str | int | float
    """A state's number, a time in microseconds, a metric's bound, or text."""

    key: str = ""
    """The tag's key where the field is tags, the metric's name where it is metrics."""


Filter = Sequence[Sequence[Condition]]
"""All of these, of each of which one suffices."""


@dataclass(frozen=True)
class OrderKey:
    """A field to order by."""

    field: Literal["create_time", "priority", "state", "loss"]
    """The field."""

    descending: bool = False
    """Largest first."""


def select_where(
    connection: Connection,
    where: Filter,
    order: Sequence[OrderKey],
    *,
    after: Sequence[str | int] | None,
    limit: int | None,
) -> list[JobRow]:
    """Read one page.

    Jobs that are alike in all fields of the order stand in the order in which they were
    submitted, in the direction of the last field; so the order is total, and a page begins
    behind a job's place and not at a count.

    Args:
        connection: To read by.
        where: Which jobs.
        order: In which order; at least one field.
        after: What `place` gave for the last job of the page before; None for the first page.
        limit: At most so many; None for all.
    """
    keys = [
        *((jobs.c[key.field], key.descending) for key in order),
        (jobs.c.seq, order[-1].descending),
    ]
    statement = select(jobs).where(*map(_any_of, where)).limit(limit)
    statement = in_project(connection, statement, jobs)
    statement = statement.order_by(
        *(column.desc() if descending else column.asc() for column, descending in keys)
    )
    if after is not None:
        assert len(after) == len(keys)
        # Not of the column's own type, which may be too narrow for what somebody made up.
        last = [literal(v, BigInteger()) if isinstance(v, int) else literal(v) for v in after]
        behind = []
        for index, (column, descending) in enumerate(keys):
            same = [keys[i][0] == last[i] for i in range(index)]
            beyond = column < last[index] if descending else column > last[index]
            behind.append(and_(*same, beyond))
        statement = statement.where(or_(*behind))
    return [JobRow(*row) for row in connection.execute(statement)]


def place(row: JobRow, order: Sequence[OrderKey]) -> list[str | int]:
    """Return a job's place in an order, for `select_where`'s `after`."""
    return [*(getattr(row, key.field) for key in order), row.seq]


def _any_of(conditions: Sequence[Condition]) -> ColumnElement[bool]:
    return or_(*map(_condition, conditions))


def _condition(condition: Condition) -> ColumnElement[bool]:
    if condition.field == "tags":
        has = exists(
            select(tags.c.job).where(
                tags.c.job == jobs.c.seq,
                tags.c.key == condition.key,
                tags.c.value == condition.value,
            )
        )
        return has if condition.operator == "=" else ~has
    if condition.field == "name":
        named = _is_named(str(condition.value).removeprefix("jobs/"))
        return named if condition.operator == "=" else ~named
    if condition.field == "metrics":
        # Those of an earlier attempt do not count.
        return exists(
            select(metrics.c.job).where(
                metrics.c.job == jobs.c.seq,
                metrics.c.attempt == jobs.c.attempt,
                metrics.c.name == condition.key,
                _compared(metrics.c.last, condition),
            )
        )
    return _compared(jobs.c[condition.field], condition)


def _compared(column: ColumnElement[Any], condition: Condition) -> ColumnElement[bool]:
    match condition.operator:
        case "=":
            return column == condition.value
        case "!=":
            return column != condition.value
        case "<":
            return column < condition.value
        case "<=":
            return column <= condition.value
        case ">":
            return column > condition.value
        case ">=":
            return column >= condition.value


def _is_named(pattern: str) -> ColumnElement[bool]:
    if not pattern.endswith("*"):
        return jobs.c.id == pattern
    # Not LIKE, to which some letters are alike on SQLite and % is special.
    beginning = pattern.removesuffix("*")
    return func.substr(jobs.c.id, 1, len(beginning)) == beginning
