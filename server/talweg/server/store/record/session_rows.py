"""Sessions as the record holds them; see `rows`."""

from dataclasses import dataclass
from typing import Annotated

from sqlalchemy import ForeignKey, Integer
from sqlalchemy.orm import mapped_column

from talweg.server.store.record.rows import SEQUENCE, Int16, Int32, Project
from talweg.spec import session_name, sweep_name
from talweg.spec.identity.projects import DEFAULT_PROJECT


@dataclass(frozen=True)
class SessionRow:
    """One row of `sessions`."""

    seq: Annotated[int, mapped_column(SEQUENCE, primary_key=True, autoincrement=True)]
    id: str
    """Unique in its project."""
    error: float
    """The budget."""
    create_time: int
    close_time: int | None = None
    """When it was closed; None while it is open."""
    project: Project = DEFAULT_PROJECT
    best: Int32 = 0
    """The number of the proposal that new settings are compared with; 0 for the first one."""

    @property
    def name(self) -> str:
        """sessions/{id}."""
        return session_name(self.id)


@dataclass(frozen=True)
class ProposalRow:
    """One row of `session_proposals`: what is compared under the budget of a session."""

    session: Annotated[int, mapped_column(SEQUENCE, ForeignKey("sessions.seq"), primary_key=True)]
    number: Annotated[int, mapped_column(Integer, primary_key=True)]
    """From 1, in the order of submission."""
    place: Int32
    """From 1, which decides its share of the budget; 0 of a setting that nothing came before."""
    sweep: str
    """The id of the sweep; empty for a setting of single jobs."""
    search: Int32
    """The index of the compared value of the sweep."""
    baseline: Int32
    """Of single jobs, the number of what it is compared with; of a sweep, that value's index."""
    label: str
    """In words."""
    setting: bytes
    """A digest of the setting of single jobs; empty of a sweep."""
    looks: str = "[]"
    """A JSON list of the looks that have been taken, as talweg.statistics writes them."""
    decision: Int16 = 0
    """A SessionAnswer.Decision by all looks up to now; 0 before the first."""
    first_seed: int = 0
    """Of a sweep, by how much the first of its fresh seeds is above the base's; 0 before them."""

    @property
    def sweep_name(self) -> str:
        """sweeps/{id}; empty for single jobs."""
        return sweep_name(self.sweep) if self.sweep else ""


@dataclass(frozen=True)
class SessionJobRow:
    """One row of `session_jobs`."""

    session: Annotated[int, mapped_column(SEQUENCE, ForeignKey("sessions.seq"), primary_key=True)]
    job: Annotated[str, mapped_column(primary_key=True)]
    """The id of the job; it may have been deleted."""
    proposal: Int32
    """The number of the proposal of single jobs; 0 of a job of a sweep."""
    test: str = ""
    """The id of the latest job that has evaluated its weights; empty where there is none, and "-"
    where there can be none, as its data were deleted."""
