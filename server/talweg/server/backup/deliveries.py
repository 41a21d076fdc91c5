"""Results that arrived in MLflow while a backup was written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select

from talweg.server.store.record import dump
from talweg.server.store.record.database import Database
from talweg.server.store.record.schema import jobs
from talweg.spec.states import has_ended
from talweg.v1.jobs_pb2 import TrackingRun

_AT_ONCE = 500


def add_deliveries(database: Database, record: Path, spool: Path) -> None:
    """Have the copy of the record know of runs that neither it nor the copy of the spool knows.

    A job that ends just before the record is read may be delivered, and its part of the spool be
    gone, before that is copied. After a restore nobody would ever say which run it has.

    Args:
        database: The record as it is now.
        record: Where `dump.write_tables` has written.
        spool: The copy of the spool.
    """
    missing = [
        row["id"]
        for row in dump.read_rows(record, "jobs")
        if has_ended(row["state"])
        and row["attempt"]
        and not TrackingRun.FromString(row["tracking"] or b"").complete
        and not (spool / row["id"]).exists()
    ]
    found = {
        job: columns
        for job, columns in _runs(database, missing)
        if TrackingRun.FromString(columns["tracking"] or b"").complete
    }

    def rows() -> Iterator[dict[str, Any]]:
        for row in dump.read_rows(record, "jobs"):
            yield {**row, **found.get(row["id"], {})}

    if found:
        dump.replace_rows(record, "jobs", rows())


def _runs(database: Database, ids: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with database.read() as connection:
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            columns = (jobs.c.id, jobs.c.tracking_run_id, jobs.c.tracking)
            for row in connection.execute(select(*columns).where(jobs.c.id.in_(some))):
                yield row.id, {"tracking_run_id": row.tracking_run_id, "tracking": row.tracking}
