"""How many GPUs each attempt has, what projects have used of them, and may."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and table. What ran before used no GPU that anybody counted."""
    op.add_column("attempts", sa.Column("gpus", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("projects", sa.Column("max_gpu_hours", sa.Double))
    op.create_table(
        "gpu_use",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("day", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hours", sa.Double, nullable=False),
    )
