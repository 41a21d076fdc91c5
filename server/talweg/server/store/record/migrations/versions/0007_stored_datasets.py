"""Stored data sets of users, and content in the blob store that none may refer to."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "stored_datasets",
        sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("read_key", sa.String, nullable=False),
        sa.Column("summary", sa.LargeBinary, nullable=False),
        sa.Column("info", sa.LargeBinary, nullable=False),
    )
    for name, columns, unique in (
        ("name", ["name", "digest"], True),
        ("digest", ["digest"], False),
        ("read_key", ["read_key"], False),
        ("time", ["update_time", "seq"], False),
    ):
        op.create_index(f"stored_datasets_by_{name}", "stored_datasets", columns, unique=unique)
    op.create_table(
        "unreferenced_blobs",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("removing", sa.Boolean, nullable=False),
    )
