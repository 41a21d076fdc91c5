"""Weights that specs start from: which file it is, of a job or of weights that were uploaded.

Its digest stands in the job's spec from its submission on. Neither a job that another one names
nor weights that a job reads are deleted, so that whatever repeats the job reads the same bytes.
"""

from collections.abc import Collection

from sqlalchemy import Connection

from talweg.server.errors import DatasetNotFound, InvalidSpec
from talweg.server.services.submission.violations import refused
from talweg.server.store import jobs, stored_datasets
from talweg.server.store.record.rows import JobRow
from talweg.spec import Violation, is_sha256, job_id
from talweg.spec.errors import one_of, shown
from talweg.spec.spelling import nearest
from talweg.spec.stored import DatasetName
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import StoredDataset
from talweg.v1.weights_pb2 import StartingWeights

_MOST_NAMES = 10


def with_weights(connection: Connection, spec: JobSpec) -> JobSpec | InvalidSpec:
    """Say in a spec which file its starting weights are.

    Args:
        connection: To read by.
        spec: Filled and checked.

    Returns:
        A completed copy; or what is wrong with it.
    """
    if not spec.HasField("weights"):
        return spec
    whole = JobSpec()
    whole.CopyFrom(spec)
    weights = whole.weights
    if weights.job:
        violation = _of_job(connection, weights)
    else:
        violation = _of_stored(connection, weights)
    return whole if violation is None else refused([violation])


def link_of_weights(spec: JobSpec) -> str:
    """Return the id of the job, or the name of the weights, that a spec starts from; or ''."""
    weights = spec.weights
    if weights.job:
        return weights.job.removeprefix("jobs/")
    name = DatasetName.parse(weights.stored)
    return str(name) if name is not None and name.digest else ""


def deleted_weights(name: str) -> Violation:
    """Return what is wrong with a spec whose weights were deleted a moment ago."""
    return Violation("weights.stored", f"{name}, which was deleted", "weights that are stored")


def _of_job(connection: Connection, weights: StartingWeights) -> Violation | None:
    row = jobs.get_many(connection, {job_id(weights.job)}).get(job_id(weights.job))
    problem = _problem(row, weights.job)
    if problem is not None or row is None:
        return problem
    digest = Outcome.FromString(row.outcome or b"").weights_sha256
    # A job of an earlier version has none, and a record may hold anything.
    if not is_sha256(digest):
        return Violation(
            "weights.job",
            f"{weights.job}, whose record does not name its file of weights",
            "a job that was trained by this version or a later one",
            f"download the file by `talweg get {row.id} model/weights.safetensors`, upload it by "
            "`talweg data add weights.safetensors --name NAME`, and set weights.stored",
        )
    return _pin(weights, digest, weights.job)


def _problem(row: JobRow | None, name: str) -> Violation | None:
    if row is None:
        return Violation("weights.job", name, "a job that exists")
    state = Job.State.Name(row.state)  # type: ignore[arg-type]
    if row.state != Job.SUCCEEDED:
        hint = "wait until it has ended" if not row.ended else "only such a job leaves a model"
        return Violation("weights.job", f"{name}, which is {state}", "a job that SUCCEEDED", hint)
    if row.job_spec.HasField("replay"):
        hint = f"It replays {row.job_spec.replay.job}: name that."
        return Violation("weights.job", f"{name}, a replay", "a job that trains", hint)
    if not row.job_spec.outputs.model:
        return Violation(
            "weights.job",
            f"{name}, which has no model, since its outputs.model is false",
            "a job with a model",
            "submit it again with outputs.model=true",
        )
    return None


def _of_stored(connection: Connection, weights: StartingWeights) -> Violation | None:
    name = DatasetName.parse(weights.stored)
    if name is None:
        return Violation("weights.stored", shown(weights.stored), "NAME or NAME@DIGEST")
    try:
        row = stored_datasets.find(connection, name)
    except DatasetNotFound:
        return _missing(name, stored_datasets.known_names(connection))
    info = StoredDataset.FromString(row.info)
    if info.options.format != ReadOptions.weights:
        format_ = ReadOptions.Format.Name(info.options.format)
        return Violation(
            "weights.stored",
            f"{name}, a data set that was read as {format_}",
            "weights",
            "upload a safetensors file by `talweg data add FILE --name NAME --format weights`",
        )
    weights.stored = str(DatasetName(row.name, row.digest)).removeprefix("datasets/")
    return _pin(weights, info.data_sha256, weights.stored)


def _pin(weights: StartingWeights, digest: str, source: str) -> Violation | None:
    if weights.sha256 and weights.sha256 != digest:
        return Violation("weights.sha256", weights.sha256, f"{digest}, as of {source}")
    weights.sha256 = digest
    return None


def _missing(name: DatasetName, known: Collection[str]) -> Violation:
    if name.name in known:
        return Violation(
            "weights.stored",
            f"{name.name}@{name.digest[:12]}, a version that is not stored, or not any more",
            "a version that is stored",
            f"talweg data list shows them; {name.name} alone means the newest",
        )
    some = one_of(sorted(known)[:_MOST_NAMES]) if known else "the name of stored weights"
    hint = nearest(name.name, known) or (
        f"upload the file first: talweg data add FILE.safetensors --name {name.name}"
    )
    return Violation("weights.stored", shown(name.name), some, hint)
