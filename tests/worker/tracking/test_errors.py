"""What an answer of MLflow means for what was sent."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE
from mlflow.store.db.utils import _get_managed_session_maker
from sqlalchemy import Engine, QueuePool, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from talweg.worker.tracking.errors import RefusedError, TrackingBusyError, TrackingError, answered


def meaning(engine: Engine, work: Callable[[Session], object]) -> TrackingError:
    """Do something with a database as MLflow does, and return what its error means."""
    session = _get_managed_session_maker(sessionmaker(engine), "sqlite")  # type: ignore[no-untyped-call]
    with pytest.raises(MlflowException) as caught, session(read_only=False) as opened:
        work(opened)
    return answered(caught.value)


def test_a_database_that_fails_is_waited_for(tmp_path: Path) -> None:
    engine = create_engine(
        f"sqlite:///{tmp_path}/used.db",
        poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01,
    )  # fmt: skip
    with engine.connect():
        found = meaning(engine, lambda session: session.execute(text("SELECT 1")))
    engine.dispose()
    assert isinstance(found, TrackingBusyError)
    assert "QueuePool limit" in str(found)
    (tmp_path / "damaged.db").write_bytes(b"not a database" * 100)
    engine = create_engine(f"sqlite:///{tmp_path}/damaged.db")
    found = meaning(engine, lambda session: session.execute(text("SELECT * FROM runs")))
    engine.dispose()
    assert isinstance(found, TrackingBusyError)
    assert "not a database" in str(found)


def test_what_breaks_a_constraint_is_refused(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/mlflow.db")

    def twice(session: Session) -> None:
        session.execute(text("CREATE TABLE inputs (id TEXT PRIMARY KEY)"))
        for _ in range(2):
            session.execute(text("INSERT INTO inputs VALUES ('one')"))

    found = meaning(engine, twice)
    engine.dispose()
    assert isinstance(found, RefusedError)
    assert "UNIQUE" in str(found)


def test_a_refusal_that_repeats_a_link_is_one() -> None:
    text = "Invalid value 'see https://sqlalche.me/e/20/e3q8' of a tag"
    for code in (INVALID_PARAMETER_VALUE, BAD_REQUEST):
        assert isinstance(answered(MlflowException(text, code)), RefusedError)
