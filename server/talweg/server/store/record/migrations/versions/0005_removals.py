"""Jobs that are deleted, and which jobs refer to which."""

import sqlalchemy as sa
from alembic import op

from talweg.spec import job_id, job_models
from talweg.v1.spec_pb2 import JobSpec

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BATCH = 1000
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables, and note what the jobs of the record refer to."""
    op.create_table(
        "removals",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("experiment_id", sa.String, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    links = op.create_table(
        "job_links",
        sa.Column("job", _SEQUENCE, sa.ForeignKey("jobs.seq"), primary_key=True),
        sa.Column("target", sa.String, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("job_links_by_target", "job_links", ["target"])
    jobs = sa.table("jobs", sa.column("seq", sa.BigInteger), sa.column("spec", sa.LargeBinary))
    connection = op.get_bind()
    after = 0
    while True:
        rows = connection.execute(
            sa.select(jobs.c.seq, jobs.c.spec)
            .where(jobs.c.seq > after)
            .order_by(jobs.c.seq)
            .limit(_BATCH)
        ).all()
        if not rows:
            return
        named = [{"job": seq, "target": target} for seq, spec in rows for target in _targets(spec)]
        if named:
            connection.execute(sa.insert(links), named)
        after = rows[-1].seq


def _targets(content: bytes) -> set[str]:
    spec = JobSpec.FromString(content)
    names = {model.job for _, model in job_models(spec)}
    if spec.HasField("continued_from"):
        names.add(spec.continued_from.job)
    return {job_id(name) for name in names if name.startswith("jobs/")}
