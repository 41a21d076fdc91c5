"""The tables of the record. The migrations make them; a test holds both alike.

A statement's whole rows, as of `select(jobs)`, are read by the dataclass: `JobRow(*row)`.
"""

from typing import Any, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    literal_column,
)
from sqlalchemy.orm import DeclarativeBase, Mapped

from talweg.server.store.record.rows import (
    SEQUENCE,
    AttemptRow,
    AuditRow,
    JobRow,
    ProjectRow,
    StoredDatasetRow,
    SweepRow,
    TokenRow,
    TrialRow,
)
from talweg.server.store.record.session_rows import ProposalRow, SessionJobRow, SessionRow
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.v1.jobs_pb2 import Job
from talweg.v1.sweeps_pb2 import Sweep, Trial

metadata = MetaData()


class _Base(DeclarativeBase):
    metadata = metadata
    type_annotation_map = {int: BigInteger, float: Double}


def _table(row: type, name: str, **options: Any) -> Table:
    """Return the table whose rows a dataclass holds: one column a field, in their order."""
    hints = get_type_hints(row, include_extras=True)
    as_mapped: Any = Mapped
    mapped: Any = type(
        row.__name__,
        (_Base,),
        {
            "__tablename__": name,
            "__table_args__": options,
            "__annotations__": {field: as_mapped[hint] for field, hint in hints.items()},
        },
    )
    table: Table = mapped.__table__
    return table


jobs = _table(JobRow, "jobs")

# Literals and not parameters: a partial index serves only queries that are seen to imply it.
is_queued = jobs.c.state == literal_column(str(Job.QUEUED))
is_running = jobs.c.state == literal_column(str(Job.RUNNING))

Index(
    "jobs_claimable",
    jobs.c.queue,
    jobs.c.priority.desc(),
    jobs.c.seq,
    sqlite_where=is_queued,
    postgresql_where=is_queued,
)
# For each project, whether any of its jobs wait in a queue.
Index(
    "jobs_waiting",
    jobs.c.queue,
    jobs.c.project,
    sqlite_where=is_queued,
    postgresql_where=is_queued,
)
_is_held_back = jobs.c.not_before.is_not(None)
Index(
    "jobs_held_back",
    jobs.c.not_before,
    sqlite_where=_is_held_back,
    postgresql_where=_is_held_back,
)
Index("jobs_leased", jobs.c.lease_until, sqlite_where=is_running, postgresql_where=is_running)
Index("jobs_by_time", jobs.c.create_time, jobs.c.seq)
Index("jobs_by_project", jobs.c.project, jobs.c.create_time, jobs.c.seq)
Index("jobs_by_experiment", jobs.c.experiment, jobs.c.create_time)

tags = Table(
    "job_tags",
    metadata,
    Column("job", SEQUENCE, ForeignKey("jobs.seq"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    sqlite_with_rowid=False,
)
Index("job_tags_by_value", tags.c.key, tags.c.value)

links = Table(
    "job_links",
    metadata,
    Column("job", SEQUENCE, ForeignKey("jobs.seq"), primary_key=True),
    # The id of a job that its spec refers to: whose model it compares by, or which it continues.
    # Or the name of the stored data set that it reads: datasets/{name}@{digest}.
    Column("target", String, primary_key=True),
    sqlite_with_rowid=False,
)
Index("job_links_by_target", links.c.target)

removals = Table(
    "removals",
    metadata,
    # Of a job that was deleted, and whose files are still to go.
    Column("id", String, primary_key=True),
    Column("run_id", String, nullable=False),
    Column("experiment_id", String, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("project", String, nullable=False, server_default=DEFAULT_PROJECT),
)

stored_datasets = _table(StoredDatasetRow, "stored_datasets")
Index(
    "stored_datasets_by_project",
    stored_datasets.c.project,
    stored_datasets.c.name,
    stored_datasets.c.digest,
    unique=True,
)
Index("stored_datasets_by_digest", stored_datasets.c.digest)
Index("stored_datasets_by_read_key", stored_datasets.c.read_key)
Index("stored_datasets_by_time", stored_datasets.c.update_time, stored_datasets.c.seq)

unreferenced = Table(
    "unreferenced_blobs",
    metadata,
    # Of stored content that no data set may refer to: deleted, or not recorded yet.
    Column("digest", String, primary_key=True),
    # The project in whose part of the blob store it lies.
    Column("project", String, primary_key=True, server_default=DEFAULT_PROJECT),
    # From when on it may be removed, if no data set refers to it then.
    Column("due", BigInteger, nullable=False),
    # Whether somebody has begun to remove it: nobody may refer to it any more.
    Column("removing", Boolean, nullable=False),
)

source_files = Table(
    "source_files",
    metadata,
    # Of a file that the server has read: its URI in its one form.
    Column("uri", String, primary_key=True),
    # As it was then: while it is the same, the file need not be read again.
    Column("fingerprint", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
    # When it was last read.
    Column("time", BigInteger, nullable=False),
)

worker_plugins = Table(
    "worker_plugins",
    metadata,
    # The id of the token by which the worker is known: nobody else tells in its name.
    Column("owner", String, primary_key=True),
    Column("worker", String, primary_key=True),
    # When it told.
    Column("time", BigInteger, nullable=False),
    # A ReportPluginsRequest.
    Column("report", LargeBinary, nullable=False),
)

predictions = Table(
    "predictions",
    metadata,
    # Of a call that waits now; the call removes it.
    Column("id", String, primary_key=True),
    # The secret by which a worker takes and finishes it.
    Column("token", String, nullable=False),
    # When its call is surely over.
    Column("expire_time", BigInteger, nullable=False),
    # A TakePredictionResponse.
    Column("request", LargeBinary, nullable=False),
    # Who has taken it; empty until then.
    Column("worker", String, nullable=False),
    Column("project", String, nullable=False, server_default=DEFAULT_PROJECT),
    # A FinishPredictionRequest.
    Column("answer", LargeBinary),
)

attempts = _table(AttemptRow, "attempts", sqlite_with_rowid=False)
Index("attempts_by_claim", attempts.c.claim_id)

events = Table(
    "events",
    metadata,
    Column("job", SEQUENCE, ForeignKey("jobs.seq"), primary_key=True),
    Column("cursor", BigInteger, primary_key=True),
    Column("attempt", Integer, nullable=False),
    # The member of Event.kind.
    Column("kind", String, nullable=False),
    Column("event", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

metrics = Table(
    "metric_summaries",
    metadata,
    Column("job", SEQUENCE, ForeignKey("jobs.seq"), primary_key=True),
    Column("name", String, primary_key=True),
    # Only those of the job's own attempt count.
    Column("attempt", Integer, nullable=False),
    Column("first", Double, nullable=False),
    Column("first_step", BigInteger, nullable=False),
    Column("last", Double, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("best", Double),
    Column("best_step", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("goal", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)

sweeps = _table(SweepRow, "sweeps")
goes_on = sweeps.c.state.in_(
    [literal_column(str(Sweep.RUNNING)), literal_column(str(Sweep.PAUSED))]
)
Index("sweeps_going_on", sweeps.c.seq, sqlite_where=goes_on, postgresql_where=goes_on)

trials = _table(TrialRow, "trials", sqlite_with_rowid=False)
is_open = trials.c.state == literal_column(str(Trial.RUNNING))
Index(
    "trials_open", trials.c.sweep, trials.c.number, sqlite_where=is_open, postgresql_where=is_open
)
Index("trials_by_value", trials.c.sweep, trials.c.search, trials.c.value)

trial_jobs = Table(
    "trial_jobs",
    metadata,
    Column("sweep", SEQUENCE, ForeignKey("sweeps.seq"), primary_key=True),
    Column("trial", BigInteger, primary_key=True),
    # By how much its seeds are raised above the base's.
    Column("seed", Integer, primary_key=True),
    # The id of the job; of one that was submitted again, the latest. It may have been deleted.
    Column("job", String, nullable=False),
    # Of what decides its result; empty where it is not taken over.
    Column("digest", LargeBinary, nullable=False),
    # Whether it was taken over from an earlier sweep.
    Column("reused", Boolean, nullable=False),
    # Of what decides its result but for the number of epochs; empty where no job goes on from it.
    Column("lineage", LargeBinary, nullable=False),
    # Whether it went on from a shorter job's checkpoint.
    Column("continued", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
Index("trial_jobs_by_job", trial_jobs.c.job)
Index("trial_jobs_by_digest", trial_jobs.c.digest)
Index("trial_jobs_by_lineage", trial_jobs.c.lineage)

sweep_events = Table(
    "sweep_events",
    metadata,
    Column("sweep", SEQUENCE, ForeignKey("sweeps.seq"), primary_key=True),
    Column("cursor", BigInteger, primary_key=True),
    Column("event", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

trial_rungs = Table(
    "trial_rungs",
    metadata,
    Column("sweep", SEQUENCE, ForeignKey("sweeps.seq"), primary_key=True),
    # From 0, the index of a decision of pruning.
    Column("rung", Integer, primary_key=True),
    Column("trial", BigInteger, primary_key=True),
    Column("search", Integer, nullable=False),
    # What the trial had reached then.
    Column("value", Double, nullable=False),
    sqlite_with_rowid=False,
)

tokens = _table(TokenRow, "tokens")
Index("tokens_by_time", tokens.c.create_time)

projects = _table(ProjectRow, "projects")

gpu_use = Table(
    "gpu_use",
    metadata,
    # What attempts of a project that ended on a day have used. It outlives their jobs.
    Column("project", String, primary_key=True),
    # In days since 1970, of UTC.
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("hours", Double, nullable=False),
)

audit = _table(AuditRow, "audit")
Index("audit_by_project", audit.c.project, audit.c.seq)
Index("audit_by_time", audit.c.time)
sweep_runs = Table(
    "sweep_runs",
    metadata,
    # Of a run in MLflow that is written from the record.
    Column("sweep", SEQUENCE, ForeignKey("sweeps.seq"), primary_key=True),
    # 0 for the summary of the sweep.
    Column("trial", BigInteger, primary_key=True),
    # The event of the sweep after which it was queued last.
    Column("cursor", BigInteger, nullable=False),
    # Whether it is still to be written.
    Column("is_waiting", Boolean, nullable=False),
    # Who writes it, and until when nobody else may take it.
    Column("holder", String, nullable=False),
    Column("held_until", BigInteger, nullable=False),
    # How many have taken it: after the first one somebody else may have made it.
    Column("attempt", Integer, nullable=False),
    # Empty until there is one.
    Column("run_id", String, nullable=False),
    Column("tracking", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
Index(
    "sweep_runs_waiting",
    sweep_runs.c.sweep,
    sweep_runs.c.trial,
    sqlite_where=literal_column("is_waiting"),
    postgresql_where=literal_column("is_waiting"),
)
sessions = _table(SessionRow, "sessions")
Index("sessions_by_project", sessions.c.project, sessions.c.id, unique=True)
session_proposals = _table(ProposalRow, "session_proposals", sqlite_with_rowid=False)
session_jobs = _table(SessionJobRow, "session_jobs", sqlite_with_rowid=False)
Index("session_jobs_by_job", session_jobs.c.job)
