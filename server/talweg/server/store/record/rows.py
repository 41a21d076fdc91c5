"""Jobs and attempts as the record holds them: a field here is a column there, written once.

The tables of the schema are made from these classes by SQLAlchemy's rules for annotations: the
type decides the column's, `| None` lets it be NULL, and what else a column needs stands in
`Annotated`. The classes themselves stay plain and frozen, since a mapped instance takes eight
times as long to make, and lists hold thousands.

Times are microseconds since 1970 by the database's clock. Fields named after a message hold it
serialised, and the fields beside it what is asked by SQL.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from sqlalchemy import BigInteger, ForeignKey, Integer, SmallInteger
from sqlalchemy.orm import mapped_column

from talweg.spec import job_name, sweep_name
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.spec.states import has_ended
from talweg.spec.sweeps import Setting
from talweg.v1.jobs_pb2 import Checkpoint, Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, SweepSpec, Trial
from talweg.v1.workers_pb2 import Kept

# SQLite numbers rows by itself for INTEGER PRIMARY KEY alone.
SEQUENCE = BigInteger().with_variant(Integer, "sqlite")

# An int is a BIGINT, unless one of these says otherwise.
Int32 = Annotated[int, mapped_column(Integer)]
Int16 = Annotated[int, mapped_column(SmallInteger)]
Project = Annotated[str, mapped_column(server_default=DEFAULT_PROJECT)]


@dataclass(frozen=True)
class JobRow:
    """One row of `jobs`. The defaults are those of a job that has just been taken."""

    seq: Annotated[int, mapped_column(SEQUENCE, primary_key=True, autoincrement=True)]
    """The order in which jobs were taken."""
    id: Annotated[str, mapped_column(unique=True)]
    queue: str
    device: str
    priority: Int32
    task: str
    loss: str
    experiment: str
    spec: bytes
    warnings: bytes
    """A Job that holds nothing but its warnings and the weights that it has taken."""
    create_time: int
    state: Int16 = Job.QUEUED
    retry_of: str = ""
    request_id: Annotated[str | None, mapped_column(unique=True)] = None
    request_digest: bytes | None = None
    start_time: int | None = None
    end_time: int | None = None
    attempt: Int32 = 0
    """Raised by each claim: the fencing number."""
    lost_attempts: Int32 = 0
    worker: str = ""
    lease_token: str = ""
    lease_until: int | None = None
    report_sequence: int = 0
    """The last report of this attempt that was counted."""
    progress: bytes | None = None
    metrics_time: int = 0
    """When a metric event was last appended; the thinning goes by it."""
    last_cursor: int = 1
    """The number of the latest event; the first one says that the job is QUEUED."""
    outcome: bytes | None = None
    cancel_requested: bool = False
    cancel_deadline: int | None = None
    cancel_reason: str = ""
    tracking_run_id: str = ""
    tracking: bytes | None = None
    pause_requested: bool = False
    """A RUNNING job's worker is to give it back, and it is not to be given to another."""
    pause_reason: str = ""
    checkpoints: bytes | None = None
    """A Kept: what a later attempt may go on from."""
    setbacks: Int32 = 0
    """How often workers in trouble gave it back, or died of it, since its last new checkpoint."""
    setback: str = ""
    """What was said of the last of them."""
    not_before: int | None = None
    """When it may be claimed again; None at any time."""
    project: Project = DEFAULT_PROJECT

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


@dataclass(frozen=True)
class AttemptRow:
    """One row of `attempts`."""

    job: Annotated[int, mapped_column(SEQUENCE, ForeignKey("jobs.seq"), primary_key=True)]
    attempt: Annotated[int, mapped_column(Integer, primary_key=True)]
    worker: str
    token: str
    claim_id: str | None
    """By which a claim that is sent again finds what it was given."""
    start_time: int
    end_time: int | None = None
    ending: str | None = None
    """How it ended, in a word: a state, or "released", "lost", "cut off"."""
    outcome_digest: bytes | None = None
    """A digest of the outcome that its worker sent: the same one sent again is no error."""
    spool: str | None = None
    """Where its results wait for delivery; None if its worker has not named it."""
    delivered: bool = False
    """Whether that spool holds nothing of it any more."""
    gpus: Annotated[int, mapped_column(server_default="0")] = 0
    """The GPUs that it has while it runs."""


@dataclass(frozen=True)
class StoredDatasetRow:
    """One row of `stored_datasets`: a version of a data set under a name."""

    seq: Annotated[int, mapped_column(SEQUENCE, primary_key=True, autoincrement=True)]
    name: str
    """Without `datasets/`."""
    digest: str
    """Of its content as stored, and of how it was read."""
    update_time: int
    """When it was uploaded last: the newest version of a name is the one of the latest time."""
    create_time: int
    read_key: str
    """A digest of the file's bytes and of how it was to be read: not to be read again."""
    summary: bytes
    """A StoredDataset without columns, preview and pictures."""
    info: bytes
    """A StoredDataset with all that is known of it, but for its name and its time."""
    project: Project = DEFAULT_PROJECT
    stored_in: Project = DEFAULT_PROJECT
    """The project in whose part of the blob store its content lies: its own, but for what was
    stored before projects had parts, which lies in that of `default`."""


@dataclass(frozen=True)
class SweepRow:
    """One row of `sweeps`. The defaults are those of a sweep that has just been created."""

    seq: Annotated[int, mapped_column(SEQUENCE, primary_key=True, autoincrement=True)]
    id: Annotated[str, mapped_column(unique=True)]
    spec: bytes
    """The SweepSpec with its defaults."""
    goal: Int16
    """Whether the objective is better low or high."""
    num_trials: int
    """Planned trials of the search."""
    num_jobs: int
    """Planned jobs of all trials."""
    create_time: int
    deadline: int | None = None
    request_id: Annotated[str | None, mapped_column(unique=True)] = None
    request_digest: bytes | None = None
    state: Int16 = Sweep.RUNNING
    message: str = "created"
    """Why it is in its state."""
    closing: Int16 = 0
    """The state in which it ends once its jobs have ended; 0 while it goes on."""
    num_begun: int = 0
    """Trials of the search that have begun: the next one is the one after them."""
    is_final: bool = False
    """Whether its final trials have begun."""
    end_time: int | None = None
    last_cursor: int = 1
    """The number of the latest event; the first one says that it is RUNNING."""
    project: Project = DEFAULT_PROJECT

    @property
    def name(self) -> str:
        """sweeps/{id}."""
        return sweep_name(self.id)

    @property
    def ended(self) -> bool:
        """Whether the sweep is over."""
        return self.state in (Sweep.SUCCEEDED, Sweep.FAILED, Sweep.CANCELLED)

    @cached_property
    def sweep_spec(self) -> SweepSpec:
        """The spec as a message."""
        return SweepSpec.FromString(self.spec)


@dataclass(frozen=True)
class TrialRow:
    """One row of `trials`: a trial that has begun."""

    sweep: Annotated[int, mapped_column(SEQUENCE, ForeignKey("sweeps.seq"), primary_key=True)]
    number: Annotated[int, mapped_column(primary_key=True)]
    search: Int32
    """The index of the compared value that it belongs to."""
    setting: str
    """A JSON list of pairs: paths and values."""
    is_final: bool = False
    num_seeds: Int32 = 0
    """Jobs that were submitted."""
    state: Int16 = Trial.RUNNING
    value: float | None = None
    """Mean of the objective over its jobs."""
    sd: float | None = None
    count: Int32 = 0
    """Jobs that SUCCEEDED and have a value."""
    message: str = ""
    """Why its jobs were refused, or it was stopped early."""
    pruned_at: Int32 = 0
    """After how many evaluations it was stopped early; 0 where it was not."""
    num_wanted: Int32 = 0
    """Seeds that it is to have up to the next look, where seeds are added; else 0."""
    decision: bytes = b""
    """A Decision, where seeds are added and a look was taken; else empty."""

    @property
    def pairs(self) -> Setting:
        """The setting."""
        return tuple((path, value) for path, value in json.loads(self.setting))


@dataclass(frozen=True)
class TokenRow:
    """One row of `tokens`."""

    id: Annotated[str, mapped_column(primary_key=True)]
    secret_hash: bytes
    """A keyed hash of its secret."""
    role: Int16
    project: str
    """The project that it is for; "*" stands for all."""
    queues: str
    """The queues that a worker's token may serve, divided by commas; all if empty."""
    description: str
    creator: str
    """The id of the token that created it; empty for a command on the server's machine."""
    create_time: int
    expire_time: int | None = None
    revoke_time: int | None = None


@dataclass(frozen=True)
class AuditRow:
    """One row of `audit`: a call that changed something, or was refused."""

    seq: Annotated[int, mapped_column(SEQUENCE, primary_key=True, autoincrement=True)]
    time: int
    token: str
    """The caller's id; empty if no token was asked for or known."""
    description: str
    """What that token was created for."""
    project: str
    method: str
    resource: str
    peer: str
    status: str


@dataclass(frozen=True)
class ProjectRow:
    """One row of `projects`: each project that has ever had a job, or quotas."""

    name: Annotated[str, mapped_column(primary_key=True)]
    max_open_jobs: int | None = None
    """None, here and below, sets no bound."""
    max_running_jobs: int | None = None
    max_stored_bytes: int | None = None
    last_claim: Annotated[int, mapped_column(server_default="0")] = 0
    """When it was last given a worker while others waited too."""
    max_gpu_hours: float | None = None
    """In the last 30 days."""
