"""Jobs whose loss names another job's model: what is refused, and what the spec is told."""

from typing import Any

import pytest
from tests.server.samples import SUCCEEDED, Rules, held, spec

from talweg.server.errors import InvalidSpec
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import Preview
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec

DIGEST, OTHER = "a1" * 32, "b2" * 32


async def trained(rules: Rules, digest: str = DIGEST) -> JobRow:
    """Return a job that has succeeded, and kept a model of images where there is a digest."""
    row = await rules.running()
    outcome = Outcome(model_sha256=digest)
    outcome.MergeFrom(SUCCEEDED)
    await rules.leases.finish(held(row), outcome, None)
    return rules.get(row)


def comparing(job: str, digest: str = "", **more: Any) -> JobSpec:
    network = {"job": job, **({"sha256": digest} if digest else {})}
    perceptual = {"network": {"job": network}, "layers": ["relu1"]}
    parts: dict[str, Any] = {
        "task": "image_translation",
        "dataset": "digit_scenes",
        "model": "unet",
        "loss": {"sum": {"terms": [{"loss": "mae"}, {"loss": {"perceptual": perceptual}}]}},
        **more,
    }
    return spec(**parts)


def digest_of(given: JobSpec) -> str:
    return given.loss.sum.terms[1].loss.perceptual.network.job.sha256


async def refused(rules: Rules, given: JobSpec) -> str:
    for validate_only in (True, False):
        with pytest.raises(InvalidSpec) as error:
            await rules.submission.submit(Submission(given, validate_only=validate_only))
    return str(error.value)


async def test_the_spec_holds_the_digest_of_the_model(rules: Rules) -> None:
    source = await trained(rules)
    given = comparing(source.name)
    preview = await rules.submission.submit(Submission(given, validate_only=True))
    assert isinstance(preview, Preview)
    assert digest_of(JobSpec.FromString(preview.spec)) == DIGEST
    row = await rules.submit(given, request_id="r")
    assert digest_of(row.job_spec) == DIGEST
    assert (await rules.submit(given, request_id="r")).id == row.id
    # What stands in the record can be sent again as it is, and be tried again.
    assert digest_of((await rules.submit(row.job_spec)).job_spec) == DIGEST
    for _ in range(2):
        (claimed,) = await rules.claim()
        await rules.leases.finish(held(claimed), SUCCEEDED, None)
    again = await rules.submission.retry(row.name, "")
    assert digest_of(again.job_spec) == DIGEST


async def test_what_has_no_model_is_refused(rules: Rules) -> None:
    path = "loss.sum.terms[1].loss.perceptual.network.job"
    message = await refused(rules, comparing("jobs/none"))
    assert f"{path}.job: found jobs/none; allowed a job that exists" in message
    running = await rules.running()
    assert "which is RUNNING; allowed a job that has succ" in await refused(
        rules, comparing(running.name)
    )
    failed = Outcome(state=Job.FAILED, cause=Outcome.SERVICE, message="no")
    await rules.leases.finish(held(running), failed, None)
    assert "which is FAILED" in await refused(rules, comparing(running.name))
    bare = await trained(rules, "")
    assert "has no stored model for images" in await refused(rules, comparing(bare.name))
    source = await trained(rules)
    message = await refused(rules, comparing(source.name, OTHER))
    assert f"{path}.sha256: found {OTHER}; allowed {DIGEST}" in message
