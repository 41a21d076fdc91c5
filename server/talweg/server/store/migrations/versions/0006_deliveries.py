"""Which spools hold a job's results, and folders in the blob store that belong to no job."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and make the table."""
    op.add_column("attempts", sa.Column("spool", sa.String))
    op.add_column(
        "attempts",
        sa.Column("delivered", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "unknown_folders",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("write_time", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
