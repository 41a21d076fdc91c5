"""Predictions that calls wait for: the one that takes a call, and workers, may meet other servers.

A row lives as long as its call. It stands in the record, and not in a server's memory, since
servers may share the record and a worker may reach another one than the caller did.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.schema import predictions as table
from talweg.server.store.record.scope import project_of
from talweg.spec.identity.projects import DEFAULT_PROJECT


@dataclass(frozen=True)
class PredictionState:
    """What has become of a prediction."""

    worker: str
    """Who has taken it; empty if nobody has."""

    answer: bytes | None
    """A serialised FinishPredictionRequest; None until then."""


def add(tx: Transaction, id_: str, *, token: str, request: bytes, lifetime: int) -> None:
    """Keep a prediction for a worker to take, and forget those whose call is long over.

    Args:
        tx: A transaction.
        id_: Its id.
        token: Its secret.
        request: A serialised TakePredictionResponse.
        lifetime: Microseconds after which its call cannot wait any more.
    """
    tx.connection.execute(delete(table).where(table.c.expire_time < tx.now))
    expire_time = tx.now + lifetime
    tx.connection.execute(
        insert(table).values(
            id=id_,
            token=token,
            expire_time=expire_time,
            request=request,
            worker="",
            project=project_of(tx.connection) or DEFAULT_PROJECT,
        )
    )


def take(tx: Transaction, id_: str, *, token: str, worker: str) -> bytes | None:
    """Give a prediction to a worker; taken again by the same one it is the same.

    Args:
        tx: A transaction.
        id_: Its id.
        token: Its secret.
        worker: The worker's name.

    Returns:
        A serialised TakePredictionResponse; None if it is not there, or another worker's.
    """
    is_free = table.c.worker.in_(["", worker])
    statement = update(table).where(table.c.id == id_, table.c.token == token, is_free)
    project = project_of(tx.connection)
    if project is not None:
        # All workers are asked, and those of other projects must not see what is in it.
        statement = statement.where(table.c.project == project)
    done = tx.connection.execute(statement.values(worker=worker))
    if not done.rowcount:
        return None
    request: bytes = tx.connection.execute(
        select(table.c.request).where(table.c.id == id_)
    ).scalar_one()
    return request


def finish(tx: Transaction, id_: str, *, token: str, answer: bytes) -> bool:
    """Keep what a worker has answered, and return whether the prediction is there.

    Args:
        tx: A transaction.
        id_: The prediction's id.
        token: Its secret.
        answer: A serialised FinishPredictionRequest.
    """
    done = tx.connection.execute(
        update(table).where(table.c.id == id_, table.c.token == token).values(answer=answer)
    )
    return bool(done.rowcount)


def state(connection: Connection, id_: str) -> PredictionState:
    """Return what has become of a prediction.

    Args:
        connection: To read by.
        id_: Its id.
    """
    statement = select(table.c.worker, table.c.answer).where(table.c.id == id_)
    row = connection.execute(statement).one_or_none()
    return PredictionState("", None) if row is None else PredictionState(row.worker, row.answer)


def remove(tx: Transaction, id_: str) -> None:
    """Forget a prediction.

    Args:
        tx: A transaction.
        id_: Its id.
    """
    tx.connection.execute(delete(table).where(table.c.id == id_))
