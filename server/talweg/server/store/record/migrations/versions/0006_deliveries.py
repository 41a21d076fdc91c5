"""Which spools hold a job's results."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("attempts", sa.Column("spool", sa.String))
    op.add_column(
        "attempts",
        sa.Column("delivered", sa.Boolean, nullable=False, server_default=sa.false()),
    )
