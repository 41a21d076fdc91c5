"""Checks one submission, and makes the job of it."""

import hashlib
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from talweg.server.errors import FieldProblem, InternalError, ServerError, SpecTooLarge
from talweg.server.services.arguments import MAX_REQUEST_ID_CHARS, text
from talweg.server.services.submission.installed import check_installed
from talweg.server.services.submission.plugins import without_facts
from talweg.server.services.submission.starting_weights import link_of_weights
from talweg.server.services.submission.stored_data import (
    KnownData,
    link_of,
    reads_stored,
    with_data,
)
from talweg.server.services.submission.sweep_tags import check_of_no_sweep, without_sweep
from talweg.server.services.submission.uri_data import AT_STORED, AT_URI, ReadSpec
from talweg.server.services.submission.violations import refused
from talweg.server.store.jobs import NewJob
from talweg.spec import MAX_SPEC_BYTES, Violation, complete, job_models, kind
from talweg.spec.broker import CUDA_QUEUE, DEFAULT_QUEUE
from talweg.spec.checks.limits import check_fillable
from talweg.spec.errors import limited
from talweg.spec.plugins import Told
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec, Resources

log = logging.getLogger(__name__)

# No vowels and nothing that is read as something else: an id is neither a word nor misread.
_ALPHABET = "23456789bcdfghjkmnpqrstvwxz"
_ID_CHARS = 12


@dataclass(frozen=True)
class Submission:
    """One request to take a job."""

    spec: JobSpec
    """As the caller sent it."""

    request_id: str = ""
    """Of the caller's choice; empty where none."""

    validate_only: bool = False
    """Change nothing."""

    why: str = "submitted"
    """Why the job waits, in words."""

    of_sweep: bool = False
    """A sweep submits it."""


@dataclass(frozen=True)
class Prepared:
    """A submission that is in order as far as its spec alone says."""

    job: NewJob
    """What it becomes."""

    validate_only: bool
    """Change nothing."""

    naming: JobSpec | None = None
    """Names other jobs, which are looked up; None where it names none, or that has been done."""


def prepare(
    submission: Submission,
    read: ReadSpec,
    known: KnownData,
    plugins: Sequence[Told],
    retry_of: str,
) -> Prepared | ServerError:
    """Check a submission; takes a while, and is for a thread.

    Args:
        submission: The request.
        read: Its spec, with stored data in the place of a URI.
        known: What the record holds of the data that it names.
        plugins: What workers have told.
        retry_of: The name of the job that it repeats; empty where it repeats none.

    Returns:
        The job, or why it is refused.
    """
    try:
        return _in_order(submission, read, known, plugins, retry_of)
    except ServerError as exc:
        return exc
    except Exception:
        # Of this spec alone: what else stands in its batch goes through.
        log.exception("checking a spec failed")
        return InternalError()


def new_id() -> str:
    """Return an id that nothing has yet."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARS))


def request_digest(submission: Submission, retry_of: str) -> bytes:
    """Return what tells submissions of one request_id apart."""
    body = submission.spec.SerializeToString(deterministic=True)
    return hashlib.sha256(retry_of.encode() + b"\0" + body).digest()


def _in_order(
    submission: Submission,
    read: ReadSpec,
    known: KnownData,
    plugins: Sequence[Told],
    retry_of: str,
) -> Prepared:
    if read.error is not None:
        raise read.error
    text(submission.request_id, field="request_id", most=MAX_REQUEST_ID_CHARS)
    spec, warnings = _checked(read, known, plugins, retry_of, of_sweep=submission.of_sweep)
    if spec.HasField("test_of"):
        hint = "the service sets it when a session is closed; close it again to test again"
        raise refused([Violation("test_of", spec.test_of.job, "nothing", hint)])
    digest = request_digest(submission, retry_of) if submission.request_id else None
    device = Resources.Device.Name(spec.resources.device)
    job = NewJob(
        id=new_id(),
        queue=_queue_of(spec),
        device=device,
        priority=spec.priority,
        task=kind(spec.task)[0],
        loss=kind(spec.loss)[0],
        experiment=spec.experiment,
        tags=dict(spec.tags),
        spec=spec.SerializeToString(deterministic=True),
        warnings=warnings,
        retry_of=retry_of,
        request_id=submission.request_id or None,
        request_digest=digest,
        links=links_of(spec),
        session="" if spec.HasField("replay") else spec.session,
        why=submission.why,
    )
    names_others = any(
        spec.HasField(part) for part in ("continued_from", "replay", "weights")
    ) or any(job_models(spec))
    return Prepared(job, submission.validate_only, spec if names_others else None)


def _as_written(field: str) -> str:
    is_below = field == AT_STORED or field.startswith((f"{AT_STORED}.", f"{AT_STORED}["))
    return f"{AT_URI}{field.removeprefix(AT_STORED)}" if is_below else field


def _queue_of(spec: JobSpec) -> str:
    return CUDA_QUEUE if spec.resources.device == Resources.cuda else DEFAULT_QUEUE


def links_of(spec: JobSpec) -> tuple[str, ...]:
    """Return the ids of the jobs that a spec refers to, and the names of the data that it reads.

    What is no job's name is refused later.
    """
    names = [model.job for _, model in job_models(spec)]
    others = (spec.continued_from, spec.replay, spec.test_of)
    names += [part.job for part in others if part.job]
    beside = (link_of(spec), link_of_weights(spec))
    return (*(name.removeprefix("jobs/") for name in names), *filter(None, beside))


def _checked(
    read: ReadSpec, known: KnownData, plugins: Sequence[Told], retry_of: str, *, of_sweep: bool
) -> tuple[JobSpec, bytes]:
    submitted = read.spec
    is_copy = retry_of or submitted.HasField("continued_from") or submitted.HasField("replay")
    if is_copy and not of_sweep:
        submitted = without_sweep(submitted)
    size = submitted.ByteSize()
    if size > MAX_SPEC_BYTES:
        description = f"must be <= {MAX_SPEC_BYTES:,} bytes, but is {size:,}"
        raise SpecTooLarge(
            f"the spec {description}",
            fields=[FieldProblem("spec", description, "TOO_LARGE")],
            metadata={"bytes": str(size), "most": str(MAX_SPEC_BYTES)},
        )
    of_data: list[Violation] = list(read.violations)
    if reads_stored(submitted) and not check_fillable(submitted):
        submitted, of_data = with_data(submitted, known, retry_of=retry_of)
    spec, violations, warnings = complete(without_facts(submitted))
    if not check_fillable(spec):
        of_workers, warned = check_installed(spec, plugins, _queue_of(spec), violations)
        violations, warnings = [*violations, *of_workers], [*warnings, *warned]
    if not of_sweep:
        violations = [*check_of_no_sweep(spec), *violations]
    if violations or of_data:
        whole = [*of_data, *violations]
        if read.is_of_uri:
            # Where the caller has written what is wrong.
            whole = [replace(each, field=_as_written(each.field)) for each in whole]
        raise refused(limited(whole))
    return spec, Job(warnings=warnings).SerializeToString()
