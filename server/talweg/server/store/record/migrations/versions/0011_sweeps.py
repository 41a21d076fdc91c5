"""Sweeps, their trials, the jobs of these, and what happened to them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# As literals: Sweep.RUNNING and Sweep.PAUSED; Trial.RUNNING.
_GOES_ON = sa.text("state IN (1, 2)")
_IS_OPEN = sa.text("state = 1")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "sweeps",
        sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("goal", sa.SmallInteger, nullable=False),
        sa.Column("num_trials", sa.BigInteger, nullable=False),
        sa.Column("num_jobs", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("deadline", sa.BigInteger),
        sa.Column("request_id", sa.String, unique=True),
        sa.Column("request_digest", sa.LargeBinary),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("closing", sa.SmallInteger, nullable=False),
        sa.Column("num_begun", sa.BigInteger, nullable=False),
        sa.Column("is_final", sa.Boolean, nullable=False),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("last_cursor", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "sweeps_going_on", "sweeps", ["seq"], sqlite_where=_GOES_ON, postgresql_where=_GOES_ON
    )
    op.create_table(
        "trials",
        sa.Column("sweep", _SEQUENCE, sa.ForeignKey("sweeps.seq"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("search", sa.Integer, nullable=False),
        sa.Column("setting", sa.String, nullable=False),
        sa.Column("is_final", sa.Boolean, nullable=False),
        sa.Column("num_seeds", sa.Integer, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("sd", sa.Double),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("pruned_at", sa.Integer, nullable=False),
        sa.Column("num_wanted", sa.Integer, nullable=False),
        sa.Column("decision", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "trials_open",
        "trials",
        ["sweep", "number"],
        sqlite_where=_IS_OPEN,
        postgresql_where=_IS_OPEN,
    )
    op.create_index("trials_by_value", "trials", ["sweep", "search", "value"])
    op.create_table(
        "trial_jobs",
        sa.Column("sweep", _SEQUENCE, sa.ForeignKey("sweeps.seq"), primary_key=True),
        sa.Column("trial", sa.BigInteger, primary_key=True),
        sa.Column("seed", sa.Integer, primary_key=True),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("reused", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("trial_jobs_by_job", "trial_jobs", ["job"])
    op.create_index("trial_jobs_by_digest", "trial_jobs", ["digest"])
    op.create_table(
        "sweep_events",
        sa.Column("sweep", _SEQUENCE, sa.ForeignKey("sweeps.seq"), primary_key=True),
        sa.Column("cursor", sa.BigInteger, primary_key=True),
        sa.Column("event", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trial_rungs",
        sa.Column("sweep", _SEQUENCE, sa.ForeignKey("sweeps.seq"), primary_key=True),
        sa.Column("rung", sa.Integer, primary_key=True),
        sa.Column("trial", sa.BigInteger, primary_key=True),
        sa.Column("search", sa.Integer, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
