"""Taking jobs in."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from talweg.server.concurrency.fair_executor import FairExecutor
from talweg.server.errors import (
    BatchSize,
    FieldProblem,
    InternalError,
    InvalidSpec,
    JobNotEnded,
    RequestIdReused,
    ServerError,
)
from talweg.server.services.arguments import job_of
from talweg.server.services.plugins import told
from talweg.server.services.quotas import no_room_for_jobs, room_for_jobs
from talweg.server.services.sessions import registering as sessions
from talweg.server.services.submission.continuation import continued
from talweg.server.services.submission.grouped import GroupedWrites
from talweg.server.services.submission.installed import may_need_installed
from talweg.server.services.submission.preparing import (
    Prepared,
    Submission,
    links_of,
    prepare,
    request_digest,
)
from talweg.server.services.submission.references import with_models
from talweg.server.services.submission.replay import replayed
from talweg.server.services.submission.starting_weights import (
    deleted_weights,
    link_of_weights,
    with_weights,
)
from talweg.server.services.submission.stored_data import (
    NOTHING_KNOWN,
    PREFIX,
    deleted,
    look_up,
    reads_stored,
)
from talweg.server.services.submission.uri_data import (
    NO_SOURCES,
    DataSources,
    names_uri,
    with_stored,
)
from talweg.server.services.submission.violations import refused
from talweg.server.store import jobs, stored_datasets
from talweg.server.store.jobs import NewJob
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import JobRow
from talweg.spec import Violation, job_name
from talweg.spec.plugins import Told
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec

log = logging.getLogger(__name__)

MAX_BATCH = 1000
# Checks are Python's own work, of which only one thread goes on at a time: more threads would not
# be quicker, but one alone would let a single long check hold up everybody.
_NUM_CHECKS = 2


@dataclass(frozen=True)
class Preview:
    """What a submission that was only to be checked would have become."""

    spec: bytes
    """The completed spec, serialised."""

    warnings: bytes
    """A Job that holds nothing but its warnings, serialised."""


Answer = JobRow | Preview
Looks = Callable[[Sequence[NewJob]], Awaitable[None]]
Within = Callable[[Transaction, Callable[[], Sequence[Answer | ServerError]]], None]


class SubmissionService:
    """Completes and checks specs, and writes jobs that are in order into the record."""

    def __init__(
        self,
        database: Database,
        sources: DataSources = NO_SOURCES,
        take_looks: Looks | None = None,
    ) -> None:
        """Start no thread yet.

        Args:
            database: The record.
            sources: Reads data by URIs.
            take_looks: Takes the looks that are due in the sessions of new jobs; without it they
                wait until somebody asks.
        """
        self._database = database
        self._take_looks = take_looks
        self._sources = sources
        self._writes = GroupedWrites[Prepared | ServerError, Answer | ServerError](
            database, _write
        )
        # Of its own, so that a thousand specs do not keep others from reading.
        self._checks = FairExecutor(_NUM_CHECKS, name="spec-check")

    def close(self) -> None:
        """Wait for running checks."""
        self._checks.close()

    async def submit(self, submission: Submission, *, caller: str = "") -> Answer:
        """Take a job.

        Args:
            submission: The request.
            caller: Who sends it; callers take turns.

        Raises:
            InvalidSpec: The spec breaks rules; carries all violations.
            SpecTooLarge: The spec is too large to be kept.
            InvalidRequest: The request_id is too long.
            RequestIdReused: The request_id stands for another body.
        """
        (answer,) = await self._take([submission], caller)
        if isinstance(answer, ServerError):
            raise answer
        return answer

    async def submit_many(
        self, submissions: Sequence[Submission], *, caller: str = ""
    ) -> list[Answer | ServerError]:
        """Take jobs, each for itself, all in one transaction.

        Args:
            submissions: The requests.
            caller: Who sends them; callers take turns after each request.

        Returns:
            For each submission, in order, what `submit` would return or raise.

        Raises:
            BatchSize: There are none, or too many.
        """
        if not 1 <= len(submissions) <= MAX_BATCH:
            description = f"must hold >= 1 and <= {MAX_BATCH}, but holds {len(submissions)}"
            raise BatchSize(
                f"requests {description}", fields=[FieldProblem("requests", description)]
            )
        return await self._take(submissions, caller)

    async def submit_within(self, submissions: Sequence[Submission], within: Within) -> None:
        """Take jobs as part of a larger transaction.

        Args:
            submissions: The requests, without request_id.
            within: Called in the transaction with what writes the jobs and returns the answers;
                it may do without.
        """
        prepared = await self._prepare(submissions, "", "")
        await self._database.writing_relaxed(
            lambda tx: within(tx, lambda: _write(tx, prepared, of_sweep=True))
        )

    async def retry(self, name: str, request_id: str, *, caller: str = "") -> JobRow:
        """Submit an ended job's spec again.

        Args:
            name: The job's name.
            request_id: As in a submission.
            caller: Who asks; callers take turns.

        Raises:
            JobNotFound: There is no such job.
            JobNotEnded: The job is not over.
            RequestIdReused: The request_id stands for another body.
            InvalidSpec: The rules have changed since, and the spec breaks them.
        """
        id_ = job_of(name)
        row = await self._database.reading(jobs.get, id_)
        if not row.ended:
            state = Job.State.Name(row.state)  # type: ignore[arg-type]
            raise JobNotEnded(
                f"{name} is {state}: only a job that has ended can be retried",
                metadata={"job": name, "state": state},
            )
        submission = Submission(row.job_spec, request_id)
        (answer,) = await self._take([submission], caller, retry_of=name)
        if isinstance(answer, ServerError):
            raise answer
        assert isinstance(answer, JobRow)
        return answer

    async def _take(
        self, submissions: Sequence[Submission], caller: str, *, retry_of: str = ""
    ) -> list[Answer | ServerError]:
        prepared = await self._prepare(submissions, caller, retry_of)
        if all(isinstance(each, ServerError) or each.validate_only for each in prepared):
            plan = await self._database.reading(_plan, prepared)
            return plan.answers({})
        if self._take_looks is not None:
            await self._take_looks([each.job for each in prepared if isinstance(each, Prepared)])
        return await self._writes.write(prepared)

    async def _prepare(
        self, submissions: Sequence[Submission], caller: str, retry_of: str
    ) -> list[Prepared | ServerError]:
        read = await with_stored(
            [each.spec for each in submissions],
            self._sources,
            self._checks,
            caller,
            versions=await self._versions(submissions, retry_of),
        )
        known = NOTHING_KNOWN
        reading = [each.spec for each in read if reads_stored(each.spec)]
        if reading:
            known = await self._database.reading(look_up, reading)
        plugins: Sequence[Told] = ()
        if any(may_need_installed(each.spec) for each in submissions):
            plugins = await self._database.reading(told)
        # One by one: others come between, and a caller who leaves cancels this, and so the rest.
        return [
            await self._checks.run(caller, prepare, each, of_data, known, plugins, retry_of)
            for each, of_data in zip(submissions, read, strict=True)
        ]

    async def _versions(self, submissions: Sequence[Submission], retry_of: str) -> list[str]:
        """Return the versions that jobs read which stand for submissions by URI already.

        Whoever sends a request once more gets the job, though its file may be gone by then.
        """
        by_uri = [each for each in submissions if each.request_id and names_uri(each.spec)]
        if not by_uri:
            return [""] * len(submissions)
        ids = {each.request_id for each in by_uri}
        taken = await self._database.reading(jobs.by_request_id, ids)
        return [_version_of(taken.get(each.request_id), each, retry_of) for each in submissions]


def _version_of(job: JobRow | None, submission: Submission, retry_of: str) -> str:
    if job is None or job.request_digest != request_digest(submission, retry_of):
        return ""
    stored = job.job_spec.dataset.stored
    return f"{stored.name}@{stored.digest}" if stored.digest else ""


@dataclass(frozen=True)
class _Plan:
    new: list[NewJob]
    # One a submission: an answer, or the id of the new job that will be the answer.
    results: list[Answer | ServerError | str]

    def answers(self, taken: Mapping[str, Answer | ServerError]) -> list[Answer | ServerError]:
        return [taken[each] if isinstance(each, str) else each for each in self.results]


def _plan(connection: Connection, prepared: Sequence[Prepared | ServerError]) -> _Plan:
    ids = {
        each.job.request_id
        for each in prepared
        if isinstance(each, Prepared) and each.job.request_id is not None
    }
    known: dict[str, JobRow | NewJob] = {**jobs.by_request_id(connection, ids)}
    # What is only checked takes no request_id, but would take it from what is checked after it.
    checked: dict[str, NewJob] = {}
    plan = _Plan([], [])
    for each in prepared:
        if isinstance(each, ServerError):
            plan.results.append(each)
            continue
        job = each.job
        holder = None
        if job.request_id is not None:
            holder = known.get(job.request_id)
            if holder is None and each.validate_only:
                holder = checked.setdefault(job.request_id, job)
        if holder is not None and holder.request_digest != job.request_digest:
            plan.results.append(RequestIdReused(job.request_id or "", job_name(holder.id)))
            continue
        if each.naming is not None and (holder is None or each.validate_only):
            completed = _looked_up(connection, job, each.naming)
            if isinstance(completed, ServerError):
                plan.results.append(completed)
                continue
            job = completed
        if each.validate_only:
            plan.results.append(Preview(job.spec, job.warnings))
        elif holder is not None:
            plan.results.append(holder if isinstance(holder, JobRow) else holder.id)
        else:
            plan.new.append(job)
            plan.results.append(job.id)
            if job.request_id is not None:
                known[job.request_id] = job
    return plan


def _looked_up(connection: Connection, job: NewJob, spec: JobSpec) -> NewJob | ServerError:
    """Complete a job by what the record holds of the jobs that its spec names."""
    try:
        return _completed(connection, job, spec)
    except (SQLAlchemyError, ServerError):
        raise  # Of the record, and so of the whole batch.
    except Exception:
        log.exception("checking a spec against the jobs that it refers to failed")
        return InternalError()


def _completed(connection: Connection, job: NewJob, spec: JobSpec) -> NewJob | InvalidSpec:
    whole = with_models(connection, spec)
    if not isinstance(whole, InvalidSpec):
        whole = with_weights(connection, whole)
    if isinstance(whole, InvalidSpec):
        return whole
    job = replace(job, links=links_of(whole))
    if (violation := sessions.leak(connection, whole, job.links)) is not None:
        return refused([violation])
    # Of a job that continues another, both are set.
    if whole.HasField("replay"):
        return replayed(connection, job, whole)
    if whole.HasField("continued_from"):
        return continued(connection, job, whole)
    return replace(job, spec=whole.SerializeToString(deterministic=True))


def _write(
    tx: Transaction, prepared: Sequence[Prepared | ServerError], *, of_sweep: bool = False
) -> list[Answer | ServerError]:
    plan = _plan(tx.connection, prepared)
    taken: dict[str, Answer | ServerError] = {
        **_without_data(tx, plan.new),
        **sessions.closed(tx, plan.new),
    }
    new = [job for job in plan.new if job.id not in taken]
    room = room_for_jobs(tx.connection) if new else None
    if room is not None and len(new) > room:
        refusal = no_room_for_jobs(tx.connection)
        taken |= {job.id: refusal for job in new[room:]}
        new = new[:room]
    inserted = jobs.insert_jobs(tx, new)
    taken |= inserted
    if any(job.session for job in new):
        sessions.register_jobs(tx, inserted.values(), of_sweep=of_sweep)
    # Another call may have taken a request_id since the plan was made: now it is known.
    left = [job for job in new if job.id not in taken]
    if left:
        again = _plan(tx.connection, [Prepared(job, validate_only=False) for job in left])
        taken |= zip((job.id for job in left), again.answers({}), strict=True)
    return plan.answers(taken)


def _without_data(tx: Transaction, new: Sequence[NewJob]) -> dict[str, InvalidSpec]:
    """Refuse jobs whose data were deleted meanwhile, and keep the data of the others."""
    data = {job.id: [link for link in job.links if link.startswith(PREFIX)] for job in new}
    names = {name for links in data.values() for name in links}
    gone = names - stored_datasets.keep(tx, names) if names else set()
    missing = ((job, [name for name in data[job.id] if name in gone]) for job in new)
    return {job.id: refused([_gone(job, name) for name in lost]) for job, lost in missing if lost}


def _gone(job: NewJob, name: str) -> Violation:
    is_weights = name == link_of_weights(JobSpec.FromString(job.spec))
    return deleted_weights(name) if is_weights else deleted(name)
