"""Which jobs of sweeps differ in their epochs alone, so that the longer go on from the shorter."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. No job goes on from those that there are."""
    table = "trial_jobs"
    op.add_column(
        table, sa.Column("lineage", sa.LargeBinary, nullable=False, server_default=sa.text("''"))
    )
    op.add_column(
        table, sa.Column("continued", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_index("trial_jobs_by_lineage", table, ["lineage"])
