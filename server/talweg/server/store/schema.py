"""The tables of the record. The migrations make them; a test holds both alike.

Times are microseconds since 1970 by the database's clock. Columns named after a message hold it
serialised, and the columns beside it what is asked by SQL.
"""

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

from talweg.v1.jobs_pb2 import Job

metadata = MetaData()

# SQLite numbers rows by itself for INTEGER PRIMARY KEY alone.
_Sequence = BigInteger().with_variant(Integer, "sqlite")

jobs = Table(
    "jobs",
    metadata,
    # The order in which jobs were taken.
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("state", SmallInteger, nullable=False),
    Column("queue", String, nullable=False),
    Column("device", String, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("task", String, nullable=False),
    Column("loss", String, nullable=False),
    Column("experiment", String, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    # A Job that holds nothing but its warnings.
    Column("warnings", LargeBinary, nullable=False),
    Column("retry_of", String, nullable=False),
    Column("request_id", String, unique=True),
    Column("request_digest", LargeBinary),
    Column("create_time", BigInteger, nullable=False),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    # Raised by each claim: the fencing number.
    Column("attempt", Integer, nullable=False),
    Column("lost_attempts", Integer, nullable=False),
    Column("worker", String, nullable=False),
    Column("lease_token", String, nullable=False),
    Column("lease_until", BigInteger),
    # The last report of this attempt that was counted.
    Column("report_sequence", BigInteger, nullable=False),
    Column("progress", LargeBinary),
    # When a metric event was last appended; the thinning goes by it.
    Column("metrics_time", BigInteger, nullable=False),
    Column("last_cursor", BigInteger, nullable=False),
    Column("outcome", LargeBinary),
    Column("cancel_requested", Boolean, nullable=False),
    Column("cancel_deadline", BigInteger),
    Column("cancel_reason", String, nullable=False),
    Column("tracking_run_id", String, nullable=False),
    Column("tracking", LargeBinary),
    # A RUNNING job's worker is to give it back, and it is not to be given to another.
    Column("pause_requested", Boolean, nullable=False),
    Column("pause_reason", String, nullable=False),
    # A Kept: what a later attempt may go on from.
    Column("checkpoints", LargeBinary),
)

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
Index("jobs_leased", jobs.c.lease_until, sqlite_where=is_running, postgresql_where=is_running)
Index("jobs_by_time", jobs.c.create_time, jobs.c.seq)
Index("jobs_by_experiment", jobs.c.experiment, jobs.c.create_time)

tags = Table(
    "job_tags",
    metadata,
    Column("job", _Sequence, ForeignKey("jobs.seq"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    sqlite_with_rowid=False,
)
Index("job_tags_by_value", tags.c.key, tags.c.value)

attempts = Table(
    "attempts",
    metadata,
    Column("job", _Sequence, ForeignKey("jobs.seq"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("worker", String, nullable=False),
    Column("token", String, nullable=False),
    # By which a claim that is sent again finds what it was given.
    Column("claim_id", String),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    # How it ended, in a word: a state, or "released", "lost", "cut off".
    Column("ending", String),
    # A digest of the outcome that its worker sent: the same one sent again is no error.
    Column("outcome_digest", LargeBinary),
    sqlite_with_rowid=False,
)
Index("attempts_by_claim", attempts.c.claim_id)

events = Table(
    "events",
    metadata,
    Column("job", _Sequence, ForeignKey("jobs.seq"), primary_key=True),
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
    Column("job", _Sequence, ForeignKey("jobs.seq"), primary_key=True),
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
