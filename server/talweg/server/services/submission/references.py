"""Models of other jobs that a spec names: what the record knows of them."""

from sqlalchemy import Connection

from talweg.server.errors import InvalidSpec
from talweg.server.services.submission.violations import refused
from talweg.server.store import jobs
from talweg.server.store.record.rows import JobRow
from talweg.spec import Violation, is_sha256, job_id, job_models
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.losses_pb2 import JobModel
from talweg.v1.spec_pb2 import JobSpec


def with_models(connection: Connection, spec: JobSpec) -> JobSpec | InvalidSpec:
    """Return each model of another job, named in a spec, the digest of its file.

    So what a job compares by stands in its own spec: it is the same when the job goes on or is
    tried again, and comparisons tell jobs by different models apart.

    Args:
        connection: To read by.
        spec: Filled and checked.

    Returns:
        A completed copy; or what is wrong with it.
    """
    whole = JobSpec()
    whole.CopyFrom(spec)
    models = list(job_models(whole))
    rows = jobs.get_many(connection, {job_id(model.job) for _, model in models}) if models else {}
    checked = (_complete(model, path, rows.get(job_id(model.job))) for path, model in models)
    violations = [each for each in checked if each is not None]
    return refused(violations) if violations else whole


def _complete(model: JobModel, path: str, row: JobRow | None) -> Violation | None:
    if row is None:
        return Violation(f"{path}.job", model.job, "a job that exists")
    if row.state != Job.SUCCEEDED:
        state = Job.State.Name(row.state)  # type: ignore[arg-type]
        return Violation(
            f"{path}.job", f"{model.job}, which is {state}", "a job that has succeeded"
        )
    digest = Outcome.FromString(row.outcome or b"").model_sha256
    # A record of long ago may hold what is none.
    if not is_sha256(digest):
        return Violation(
            f"{path}.job",
            f"{model.job}, which has no stored model for images",
            "a job with a stored model",
            "Set outputs.model; the inputs must be images (channels, height, width).",
        )
    if model.sha256 and model.sha256 != digest:
        return Violation(f"{path}.sha256", model.sha256, f"{digest}, as of {model.job}")
    model.sha256 = digest
    return None
