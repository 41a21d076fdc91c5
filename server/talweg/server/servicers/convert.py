"""Between the services' values and messages."""

from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from talweg.server.calls.statuses import to_status
from talweg.server.errors import InvalidRequest, ServerError
from talweg.server.services.comparison.compare import Comparison, Group
from talweg.server.services.jobs import JobView
from talweg.server.services.submission.submit import Answer, Preview
from talweg.server.store.record.clock import to_timestamp
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import (
    BatchSubmitJobsResponse,
    CompareJobsResponse,
    Job,
    Outcome,
    Progress,
)
from talweg.v1.spec_pb2 import JobSpec

LARGEST_MESSAGE = 4 * 1024 * 1024
"""What gRPC's clients take as one message unless they are told otherwise, in bytes."""


# What a result takes beside the violations of its error.
_RESULT_BYTES = 100


def job_message(view: JobView) -> Job:
    """Return a job's message."""
    row = view.row
    # The stored warnings are a Job's already, and the taken weights beside them.
    job = Job.FromString(row.warnings)
    job.name = row.name
    job.project = row.project
    job.spec.ParseFromString(row.spec)
    job.state = _state(row.state)
    job.attempt = row.attempt
    job.create_time.CopyFrom(to_timestamp(row.create_time))
    if row.start_time is not None:
        job.start_time.CopyFrom(to_timestamp(row.start_time))
    if row.end_time is not None:
        job.end_time.CopyFrom(to_timestamp(row.end_time))
    job.waiting_reason = view.waiting_reason
    if row.progress is not None:
        job.progress.CopyFrom(Progress.FromString(row.progress))
    if row.outcome is not None:
        job.outcome.CopyFrom(Outcome.FromString(row.outcome))
    job.worker = row.worker
    if view.tracking is not None:
        job.tracking.CopyFrom(view.tracking)
    job.retry_of = row.retry_of
    job.cancel_requested = row.cancel_requested
    job.last_cursor = row.last_cursor
    job.checkpoints.extend(row.kept)
    job.pause_requested = row.pause_requested
    if view.result is not None:
        job.result.CopyFrom(view.result)
    return job


def taken_message(answer: JobRow | Preview) -> Job:
    """Return the message of what a submission became; without a name where it was only checked."""
    if isinstance(answer, JobRow):
        return job_message(JobView(answer))
    job = Job.FromString(answer.warnings)
    job.spec.CopyFrom(JobSpec.FromString(answer.spec))
    job.state = Job.QUEUED
    return job


def batch_message(answers: Sequence[Answer | ServerError]) -> BatchSubmitJobsResponse:
    """Return the message of what each submission of a batch became, one that every client takes.

    A lost answer would cost the names of jobs that were taken. So where it grows too large, specs
    and warnings stay behind, and each error has its share of the room.

    Args:
        answers: One a submission.
    """
    response = BatchSubmitJobsResponse()
    share = LARGEST_MESSAGE // max(1, len(answers)) - _RESULT_BYTES
    for answer in answers:
        if isinstance(answer, ServerError):
            response.results.add(error=to_status(answer, room=share))
        else:
            response.results.add(job=taken_message(answer))
    if response.ByteSize() > LARGEST_MESSAGE:
        for result in response.results:
            if result.HasField("job"):
                result.job.ClearField("spec")
                result.job.ClearField("warnings")
                result.job.ClearField("taken_weights")
    return response


def duration_value(message: Duration, *, field: str) -> timedelta:
    """Read a duration.

    Args:
        message: The duration.
        field: The argument's path in the request.

    Raises:
        InvalidRequest: It is longer than a duration can be.
    """
    try:
        return message.ToTimedelta()
    except (OverflowError, ValueError) as exc:
        raise InvalidRequest.of(
            field, f"must be a duration, but got {message.seconds} s and {message.nanos} ns"
        ) from exc


def comparison_message(comparison: Comparison) -> CompareJobsResponse:
    """Return a comparison's message."""
    return CompareJobsResponse(
        metric=comparison.metric,
        goal=comparison.goal,
        groups=map(_group_message, comparison.groups),
        references=[
            CompareJobsResponse.Reference(name=each.name, mean=each.mean, count=each.count)
            for each in comparison.references
        ],
        unequal=comparison.unequal,
    )


def _group_message(group: Group) -> CompareJobsResponse.Group:
    values = group.values
    return CompareJobsResponse.Group(
        labels=group.labels,
        count=len(values),
        mean=group.mean,
        sd=group.sd,
        min=min(values, default=None),
        max=max(values, default=None),
        succeeded=group.num_succeeded,
        total=len(group.rows),
        rows=[
            CompareJobsResponse.Row(
                job=row.job.name,
                state=_state(row.job.state),
                value=row.value,
                seed=row.seed,
                step=row.measured.step if row.measured else 0,
                best_weights=row.measured is not None and row.measured.best_weights,
                marks=row.marks,
            )
            for row in group.rows
        ],
        varies=group.varies,
        repeats=group.num_repeats,
        median=group.median,
        iqr=group.iqr,
        states=[
            CompareJobsResponse.StateCount(state=_state(state), count=count)
            for state, count in sorted(group.states.items())
        ],
    )


def _state(number: int) -> Job.State.ValueType:
    if number not in Job.State.values():
        raise ValueError(f"a job's state must be one of {Job.State.keys()}, but got {number}")
    return number  # type: ignore[return-value]
