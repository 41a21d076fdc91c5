"""Jobs, attempts, events and metric summaries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite numbers rows by itself for INTEGER PRIMARY KEY alone.
_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    _jobs()
    op.create_table(
        "job_tags",
        sa.Column("job", _Sequence, sa.ForeignKey("jobs.seq"), primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("job_tags_by_value", "job_tags", ["key", "value"])
    op.create_table(
        "attempts",
        sa.Column("job", _Sequence, sa.ForeignKey("jobs.seq"), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("claim_id", sa.String),
        sa.Column("start_time", sa.BigInteger, nullable=False),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("ending", sa.String),
        sa.Column("outcome_digest", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    op.create_index("attempts_by_claim", "attempts", ["claim_id"])
    op.create_table(
        "events",
        sa.Column("job", _Sequence, sa.ForeignKey("jobs.seq"), primary_key=True),
        sa.Column("cursor", sa.BigInteger, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("event", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric_summaries",
        sa.Column("job", _Sequence, sa.ForeignKey("jobs.seq"), primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("first", sa.Double, nullable=False),
        sa.Column("first_step", sa.BigInteger, nullable=False),
        sa.Column("last", sa.Double, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("best", sa.Double),
        sa.Column("best_step", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("goal", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("queue", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("loss", sa.String, nullable=False),
        sa.Column("experiment", sa.String, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("warnings", sa.LargeBinary, nullable=False),
        sa.Column("retry_of", sa.String, nullable=False),
        sa.Column("request_id", sa.String, unique=True),
        sa.Column("request_digest", sa.LargeBinary),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("start_time", sa.BigInteger),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("lost_attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("lease_token", sa.String, nullable=False),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("report_sequence", sa.BigInteger, nullable=False),
        sa.Column("progress", sa.LargeBinary),
        sa.Column("metrics_time", sa.BigInteger, nullable=False),
        sa.Column("last_cursor", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.LargeBinary),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("cancel_deadline", sa.BigInteger),
        sa.Column("cancel_reason", sa.String, nullable=False),
        sa.Column("tracking_run_id", sa.String, nullable=False),
        sa.Column("tracking", sa.LargeBinary),
    )
    queued, running = sa.text("state = 1"), sa.text("state = 2")
    op.create_index(
        "jobs_claimable",
        "jobs",
        ["queue", sa.text("priority DESC"), "seq"],
        sqlite_where=queued,
        postgresql_where=queued,
    )
    op.create_index(
        "jobs_leased",
        "jobs",
        ["lease_until"],
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_index("jobs_by_time", "jobs", ["create_time", "seq"])
    op.create_index("jobs_by_experiment", "jobs", ["experiment", "create_time"])
