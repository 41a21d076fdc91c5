"""Jobs that workers in trouble gave back."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("jobs", sa.Column("setbacks", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("setback", sa.String, nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("not_before", sa.BigInteger))
    op.create_index(
        "jobs_held_back",
        "jobs",
        ["not_before"],
        sqlite_where=sa.text("not_before IS NOT NULL"),
        postgresql_where=sa.text("not_before IS NOT NULL"),
    )
