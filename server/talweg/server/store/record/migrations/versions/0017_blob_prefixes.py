"""Which project's part of the blob store holds content: until now, all that of `default`."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; one is part of a primary key, so its table is made anew."""
    op.add_column(
        "stored_datasets",
        sa.Column("stored_in", sa.String, nullable=False, server_default="default"),
    )
    notes = sa.table(
        "unreferenced_blobs",
        *(sa.column(name) for name in ("digest", "project", "due", "removing")),
    )
    rows = op.get_bind().execute(sa.select(notes.c.digest, notes.c.due, notes.c.removing))
    kept = [{**row, "project": "default"} for row in rows.mappings()]
    op.drop_table("unreferenced_blobs")
    op.create_table(
        "unreferenced_blobs",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("project", sa.String, primary_key=True, server_default="default"),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("removing", sa.Boolean, nullable=False),
    )
    if kept:
        op.bulk_insert(notes, kept)
