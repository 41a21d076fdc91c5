"""Sessions, what is proposed in them, and their jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "sessions",
        sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("error", sa.Double, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("close_time", sa.BigInteger),
        sa.Column("project", sa.String, nullable=False, server_default="default"),
        sa.Column("best", sa.Integer, nullable=False),
    )
    op.create_index("sessions_by_project", "sessions", ["project", "id"], unique=True)
    op.create_table(
        "session_proposals",
        sa.Column("session", _SEQUENCE, sa.ForeignKey("sessions.seq"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("sweep", sa.String, nullable=False),
        sa.Column("search", sa.Integer, nullable=False),
        sa.Column("baseline", sa.Integer, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("setting", sa.LargeBinary, nullable=False),
        sa.Column("looks", sa.String, nullable=False),
        sa.Column("decision", sa.SmallInteger, nullable=False),
        sa.Column("first_seed", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "session_jobs",
        sa.Column("session", _SEQUENCE, sa.ForeignKey("sessions.seq"), primary_key=True),
        sa.Column("job", sa.String, primary_key=True),
        sa.Column("proposal", sa.Integer, nullable=False),
        sa.Column("test", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("session_jobs_by_job", "session_jobs", ["job"])
