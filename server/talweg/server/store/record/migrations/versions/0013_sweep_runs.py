"""Runs in MLflow that are written from the record of sweeps."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sweep_runs",
        sa.Column("sweep", _SEQUENCE, sa.ForeignKey("sweeps.seq"), primary_key=True),
        sa.Column("trial", sa.BigInteger, primary_key=True),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("is_waiting", sa.Boolean, nullable=False),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("held_until", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("tracking", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "sweep_runs_waiting",
        "sweep_runs",
        ["sweep", "trial"],
        sqlite_where=sa.text("is_waiting"),
        postgresql_where=sa.text("is_waiting"),
    )
