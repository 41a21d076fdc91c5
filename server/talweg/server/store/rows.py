"""A job as the record holds it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from sqlalchemy import Row, Select, select

from talweg.server.store.schema import jobs
from talweg.spec import job_name
from talweg.spec.states import has_ended
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Kept


@dataclass(frozen=True)
class JobRow:
    """One row of `jobs`; see the schema for what the fields hold."""

    seq: int
    id: str
    state: int
    queue: str
    device: str
    priority: int
    task: str
    loss: str
    experiment: str
    spec: bytes
    warnings: bytes
    retry_of: str
    request_id: str | None
    request_digest: bytes | None
    create_time: int
    start_time: int | None
    end_time: int | None
    attempt: int
    lost_attempts: int
    worker: str
    lease_token: str
    lease_until: int | None
    report_sequence: int
    progress: bytes | None
    metrics_time: int
    last_cursor: int
    outcome: bytes | None
    cancel_requested: bool
    cancel_deadline: int | None
    cancel_reason: str
    tracking_run_id: str
    tracking: bytes | None
    pause_requested: bool
    pause_reason: str
    checkpoints: bytes | None

    @property
    def name(self) -> str:
        """jobs/{id}."""
        return job_name(self.id)

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return has_ended(self.state)

    @cached_property
    def job_spec(self) -> JobSpec:
        """The spec as a message."""
        return JobSpec.FromString(self.spec)

    @cached_property
    def kept(self) -> Sequence[Checkpoint]:
        """The checkpoints that are kept, oldest first."""
        return Kept.FromString(self.checkpoints or b"").checkpoints


_COLUMNS = tuple(jobs.c[field.name] for field in fields(JobRow))


def select_jobs() -> Select[*tuple[Any, ...]]:
    """Return a query of whole rows, to be narrowed; `to_row` reads what it yields."""
    return select(*_COLUMNS)


def to_row(row: Row[*tuple[Any, ...]]) -> JobRow:
    """Read one result of `select_jobs`."""
    return JobRow(*row)
