"""Tokens, the log of what their holders did, and projects: what is there is of `default`."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables and the columns."""
    for table in ("jobs", "sweeps", "stored_datasets", "removals"):
        op.add_column(
            table, sa.Column("project", sa.String, nullable=False, server_default="default")
        )
    waiting = sa.text("state = 1")  # Job.QUEUED
    op.create_index(
        "jobs_waiting",
        "jobs",
        ["queue", "project"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index("jobs_by_project", "jobs", ["project", "create_time", "seq"])
    op.drop_index("stored_datasets_by_name", "stored_datasets")
    op.create_index(
        "stored_datasets_by_project", "stored_datasets", ["project", "name", "digest"], unique=True
    )
    # Both hold what lives for two minutes at most.
    op.drop_table("worker_plugins")
    op.create_table(
        "worker_plugins",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("worker", sa.String, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("report", sa.LargeBinary, nullable=False),
    )
    op.drop_table("predictions")
    op.create_table(
        "predictions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("expire_time", sa.BigInteger, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False, server_default="default"),
        sa.Column("answer", sa.LargeBinary),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("queues", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("creator", sa.String, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("expire_time", sa.BigInteger),
        sa.Column("revoke_time", sa.BigInteger),
    )
    op.create_index("tokens_by_time", "tokens", ["create_time"])
    op.create_table(
        "projects",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("max_open_jobs", sa.BigInteger),
        sa.Column("max_running_jobs", sa.BigInteger),
        sa.Column("max_stored_bytes", sa.BigInteger),
        sa.Column("last_claim", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.execute("INSERT INTO projects (name) VALUES ('default')")
    op.create_table(
        "audit",
        sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("resource", sa.String, nullable=False),
        sa.Column("peer", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
    )
    op.create_index("audit_by_project", "audit", ["project", "seq"])
    op.create_index("audit_by_time", "audit", ["time"])
