"""Jobs that start from other weights: what is refused, what is pinned, and what is kept."""

from typing import Any

import pytest
from tests.server.samples import SUCCEEDED, Rules, held, spec
from tests.server.stored_datasets.test_submission import delete

from talweg.server.errors import DatasetInUse, InvalidRequest, InvalidSpec, JobInUse
from talweg.server.servicers.convert import job_message
from talweg.server.services.attempts.reports import Report
from talweg.server.services.jobs import JobView
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.services.stored_datasets.views import row_of
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import Preview
from talweg.server.store import stored_datasets
from talweg.server.store.record.rows import JobRow
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.jobs_pb2 import Event, Job, Outcome, Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset
from talweg.v1.weights_pb2 import TakenWeights

DIGEST, OTHER = "a1" * 32, "b2" * 32
WITH_MODEL = {"model": True, "plots": False}


async def trained(
    rules: Rules, digest: str = DIGEST, outputs: dict[str, bool] | None = None
) -> JobRow:
    """Return a job that has succeeded, and left weights where there is a digest."""
    row = await rules.running(spec(outputs=WITH_MODEL if outputs is None else outputs))
    outcome = Outcome(weights_sha256=digest)
    outcome.MergeFrom(SUCCEEDED)
    await rules.leases.finish(held(row), outcome, None)
    return rules.get(row)


def stored(
    rules: Rules, name: str, number: int = 1, *, format_: str = "weights"
) -> tuple[str, str]:
    """Record a version of weights, and return its digest and that of its file."""
    digest, sha256 = f"{number:x}" * 64, f"{number + 8:x}" * 64
    info = StoredDataset(
        digest=digest,
        data_sha256=sha256,
        num_samples=40,
        options=ReadOptions(format=ReadOptions.Format.Value(format_)),
        columns=[DataColumn(name="a.weight", type=DataColumn.NUMBER, shape=[2])],
    )
    with rules.database.write() as tx:
        stored_datasets.insert_version(tx, row_of(name, f"key {name} {number}", info))
    return digest, sha256


def starting(weights: Any, **more: Any) -> JobSpec:
    return spec(weights=weights, **more)


async def refused(rules: Rules, given: JobSpec) -> str:
    for validate_only in (True, False):
        with pytest.raises(InvalidSpec) as error:
            await rules.submission.submit(Submission(given, validate_only=validate_only))
    return str(error.value)


async def test_the_digest_of_a_jobs_weights_stands_in_the_spec(rules: Rules) -> None:
    source = await trained(rules)
    given = starting(source.name)
    preview = await rules.submission.submit(Submission(given, validate_only=True))
    assert isinstance(preview, Preview)
    assert JobSpec.FromString(preview.spec).weights.sha256 == DIGEST
    row = await rules.submit(given)
    assert (row.job_spec.weights.job, row.job_spec.weights.sha256) == (source.name, DIGEST)
    # What stands in the record can be sent again as it is, and be tried again.
    assert (await rules.submit(row.job_spec)).job_spec.weights.sha256 == DIGEST
    for _ in range(2):
        (claimed,) = await rules.claim()
        await rules.leases.finish(held(claimed), SUCCEEDED, None)
    again = await rules.submission.retry(row.name, "")
    assert again.job_spec.weights.sha256 == DIGEST


async def test_a_job_without_weights_is_refused(rules: Rules) -> None:
    async def found(name: str) -> str:
        return await refused(rules, starting(name))

    assert "weights.job: found jobs/none; allowed a job that exists" in await found("jobs/none")
    running = await rules.running()
    message = await found(running.name)
    assert "which is RUNNING; allowed a job that SUCCEEDED. wait until it has ended" in message
    failed = Outcome(state=Job.FAILED, cause=Outcome.SERVICE, message="no")
    await rules.leases.finish(held(running), failed, None)
    assert "which is FAILED; allowed a job that SUCCEEDED. only such" in await found(running.name)
    bare = await trained(rules, "", {"model": False, "plots": False})
    assert "which has no model, since its outputs.model is false" in await found(bare.name)
    old = await trained(rules, "")
    message = await found(old.name)
    assert f"talweg get {old.id} model/weights.safetensors" in message
    source = await trained(rules)
    message = await refused(rules, starting({"job": source.name, "sha256": OTHER}))
    assert f"weights.sha256: found {OTHER}; allowed {DIGEST}, as of {source.name}" in message


async def test_a_job_whose_weights_another_needs_is_not_deleted(rules: Rules) -> None:
    source = await trained(rules)
    row = await rules.submit(starting(source.name))
    deletion = DeletionService(rules.database)
    with pytest.raises(JobInUse, match=row.name):
        await deletion.delete(source.name, force=True)
    (claimed,) = await rules.claim()
    await rules.leases.finish(held(claimed), SUCCEEDED, None)
    await deletion.delete(row.name, force=True)
    await deletion.delete(source.name, force=True)
    assert "a job that exists" in await refused(rules, starting(source.name))


async def test_stored_weights_are_pinned_to_a_version(rules: Rules) -> None:
    digest, sha256 = stored(rules, "trunk")
    row = await rules.submit(starting({"stored": "trunk"}))
    weights = row.job_spec.weights
    assert (weights.stored, weights.sha256) == (f"trunk@{digest}", sha256)
    newer, _ = stored(rules, "trunk", 2)
    assert (await rules.submit(row.job_spec)).job_spec.weights.stored == f"trunk@{digest}"
    assert (await rules.submit(starting({"stored": "trunk"}))).job_spec.weights.stored == (
        f"trunk@{newer}"
    )
    # Neither goes while a job waits for it, nor one that a job has read.
    with pytest.raises(DatasetInUse):
        delete(rules, f"trunk@{digest}", force=True)
    for _ in range(3):
        (claimed,) = await rules.claim()
        await rules.leases.finish(held(claimed), SUCCEEDED, None)
    with pytest.raises(DatasetInUse):
        delete(rules, f"trunk@{digest}")
    delete(rules, f"trunk@{digest}", force=True)
    message = await refused(rules, row.job_spec)
    assert f"weights.stored: found trunk@{digest[:12]}, a version that is not stored" in message


async def test_a_job_may_read_data_and_weights_of_its_own(rules: Rules) -> None:
    digest, _ = stored(rules, "trunk")
    with rules.database.write() as tx:
        info = StoredDataset(digest="c" * 64, num_samples=40)
        for name in ("area", "price"):
            info.columns.add(name=name, type=DataColumn.NUMBER, dtype="float64", min=0, max=9)
        stored_datasets.insert_version(tx, row_of("houses", "key", info))
    data = {"stored": {"name": "houses", "target": "price"}}
    await rules.submit(starting({"stored": "trunk"}, dataset=data))
    for name in (f"trunk@{digest}", "houses"):
        with pytest.raises(DatasetInUse):
            delete(rules, name, force=True)


async def test_weights_and_data_are_not_taken_for_each_other(rules: Rules) -> None:
    stored(rules, "trunk")
    stored(rules, "houses", 2, format_="safetensors")
    message = await refused(rules, starting({"stored": "houses"}))
    assert "found datasets/houses, a data set that was read as safetensors" in message
    assert "--format weights" in message
    message = await refused(rules, spec(dataset={"stored": {"name": "trunk", "target": "a"}}))
    assert "dataset.stored.name: found trunk, the weights of a model" in message
    message = await refused(rules, starting({"stored": "trunc"}))
    assert "did you mean 'trunk'?" in message
    assert "talweg data add" in await refused(rules, starting({"stored": "zzzzzzzz"}))


async def test_what_was_taken_stands_in_the_record(rules: Rules) -> None:
    source = await trained(rules)
    await rules.submit(starting(source.name))
    (row,) = await rules.claim()
    taken = TakenWeights(source=source.name, sha256=DIGEST, num_taken=1)
    taken.tensors.add(name="a\x1b.weight", use=TakenWeights.Entry.TAKEN, file_shape=[2])
    warning = Warning(kind=Warning.WEIGHTS_NOT_TAKEN, field="weights", message="m")
    events = [Event(taken_weights=taken), Event(warning=warning)]
    await rules.leases.report(held(row), Report(1, events))
    message = job_message(JobView(rules.get(row)))
    # A terminal obeys nothing in a name.
    assert message.taken_weights.tensors[0].name == "a\\x1b.weight"
    assert [each.kind for each in message.warnings] == [Warning.WEIGHTS_NOT_TAKEN]
    assert "taken_weights" in rules.kinds(row)
    # The next attempt's take the place of these.
    taken.num_taken = 5
    await rules.leases.report(held(row), Report(2, [Event(taken_weights=taken)]))
    assert job_message(JobView(rules.get(row))).taken_weights.num_taken == 5


async def test_a_record_is_not_filled_by_a_worker(rules: Rules) -> None:
    row = await rules.running()
    many = TakenWeights(tensors=[TakenWeights.Entry(name="a")] * 201)
    long = TakenWeights(tensors=[TakenWeights.Entry(name="a" * 501)])
    deep = TakenWeights(tensors=[TakenWeights.Entry(name="a", file_shape=[1] * 17)])
    for taken in (many, long, deep):
        with pytest.raises(InvalidRequest):
            await rules.leases.report(held(row), Report(1, [Event(taken_weights=taken)]))
    with pytest.raises(InvalidRequest):
        await rules.leases.finish(
            held(row), Outcome(state=Job.SUCCEEDED, weights_sha256="none"), None
        )
