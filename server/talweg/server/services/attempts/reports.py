"""Taking in what a worker reports of its attempt."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from talweg.server.errors import InvalidRequest
from talweg.server.services.attempts.thinning import slots, thin
from talweg.server.services.free_text import readable
from talweg.server.store import events, jobs, metrics
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow
from talweg.spec import CheckpointName, has_control
from talweg.v1.jobs_pb2 import Event, Job, MetricSummary, Progress
from talweg.v1.options_pb2 import Goal
from talweg.v1.weights_pb2 import TakenWeights
from talweg.v1.workers_pb2 import Kept

_MAX_EVENTS = 10_000
_MAX_LOG_CHARS = 10_000
_MAX_CHECKPOINTS = 1000
_MAX_NAME_CHARS = 500
_MAX_WARNINGS = 100
_MAX_TENSORS = 200
_MAX_TENSOR_CHARS = 500
_MAX_DIMENSIONS = 16
_REPORTED = ("progress", "metrics", "log", "warning", "guard", "taken_weights")


@dataclass(frozen=True)
class Report:
    """What happened to an attempt since the report before."""

    sequence: int
    """Counts the attempt's reports from 1; 0 in a report that only renews the lease."""

    events: Sequence[Event] = field(default_factory=tuple)
    """In order; their kinds alone count."""

    summaries: Sequence[MetricSummary] = field(default_factory=tuple)
    """The metrics that changed, over the whole attempt."""

    progress: Progress | None = None
    """How far the attempt has come."""

    kept: Kept | None = None
    """All checkpoints that are kept now; None where nothing changed."""


def apply(tx: Transaction, row: JobRow, report: Report, *, lease_until: int | None) -> JobRow:
    """Renew the lease and append a report to the record, unless that was done already.

    Args:
        tx: A transaction.
        row: The job, locked; its lease is the reporter's.
        report: The report.
        lease_until: When the lease now ends.

    Returns:
        The job as it is now.

    Raises:
        InvalidRequest: The report holds what a worker has no say in.
    """
    _check(report, row)
    if report.sequence <= row.report_sequence:
        return jobs.change(tx, row, lease_until=lease_until)
    since = row.metrics_time or row.start_time or tx.now
    fresh, warnings = _new_warnings(report.events, row.warnings)
    accepted = [readable(_bounded(event)) for event in fresh]
    new = thin(accepted, slots(tx.now - since), _steps_to_keep(report.summaries))
    warnings = _with_weights(accepted, warnings)
    progress = _latest_progress(report)
    if progress is not None and not any(event.HasField("progress") for event in new):
        stored = row.progress and Progress.FromString(row.progress)
        if progress != stored:
            new.append(Event(progress=progress))
    if report.summaries:
        metrics.put(tx, row, report.summaries)
    changes: dict[str, object] = {}
    if report.kept is not None:
        changes["checkpoints"] = report.kept.SerializeToString()
        if any(checkpoint.attempt == row.attempt for checkpoint in report.kept.checkpoints):
            # Workers that are lost now and then, while the job comes on, are no reason to give up.
            changes |= {"lost_attempts": 0, "setbacks": 0, "setback": ""}
    measured = any(event.HasField("metrics") for event in new)
    return jobs.change(
        tx,
        row,
        lease_until=lease_until,
        report_sequence=report.sequence,
        warnings=warnings,
        progress=row.progress if progress is None else progress.SerializeToString(),
        metrics_time=tx.now if measured else row.metrics_time,
        last_cursor=events.append(tx, row, new) if new else row.last_cursor,
        **changes,
    )


def _steps_to_keep(summaries: Sequence[MetricSummary]) -> set[int]:
    """Return the steps of what is first, best and last over the whole attempt."""
    return {
        step
        for summary in summaries
        for step in (summary.first_step, summary.best_step, summary.last_step)
    }


def _check(report: Report, row: JobRow) -> None:
    if report.sequence < 0:
        raise InvalidRequest.of("sequence", f"must be >= 0, but got {report.sequence}")
    content = report.events or report.summaries or report.progress or report.kept is not None
    if content and report.sequence == 0:
        raise InvalidRequest.of(
            "sequence", "must be >= 1 in a report that is not empty, but got 0"
        )
    if len(report.events) > _MAX_EVENTS:
        raise InvalidRequest.of(
            "events", f"must be <= {_MAX_EVENTS}, but got {len(report.events)}"
        )
    for index, event in enumerate(report.events):
        kind = event.WhichOneof("kind")
        if kind not in _REPORTED:
            raise InvalidRequest.of(
                f"events[{index}]", f"found {kind or 'no kind'}; allowed: {', '.join(_REPORTED)}"
            )
        if kind == "taken_weights":
            _check_weights(event.taken_weights, f"events[{index}].taken_weights")
    if report.kept is not None:
        _check_kept(report.kept, row)
    for index, summary in enumerate(report.summaries):
        if not _names_metric(summary.name):
            raise InvalidRequest.of(
                f"summaries[{index}].name",
                f"must have >= 1 and <= {_MAX_NAME_CHARS} characters, none of them a control "
                f"character, but got {summary.name[:100]!a}",
            )
        if summary.goal not in Goal.values():
            allowed = ", ".join(Goal.keys())
            raise InvalidRequest.of(
                f"summaries[{index}].goal", f"found {summary.goal}; allowed: {allowed}"
            )


def _names_metric(name: str) -> bool:
    return 1 <= len(name) <= _MAX_NAME_CHARS and not has_control(name)


def _check_kept(kept: Kept, row: JobRow) -> None:
    """Refuse all but checkpoints of this job, and what the record names already.

    A worker reads and removes the files that the record names.
    """
    if len(kept.checkpoints) > _MAX_CHECKPOINTS:
        raise InvalidRequest.of(
            "kept.checkpoints", f"must be <= {_MAX_CHECKPOINTS}, but got {len(kept.checkpoints)}"
        )
    # The checkpoint of another job stands there where this one continues it.
    known = {checkpoint.name for checkpoint in row.kept}
    for index, checkpoint in enumerate(kept.checkpoints):
        field = f"kept.checkpoints[{index}]"
        try:
            name = CheckpointName.parse(checkpoint.name)
        except ValueError as exc:
            raise InvalidRequest.of(f"{field}.name", str(exc)) from exc
        if name.job != row.name and checkpoint.name not in known:
            raise InvalidRequest.of(
                f"{field}.name", f"must be of {row.name}, but got {checkpoint.name}"
            )
        if (name.step, name.attempt) != (checkpoint.step, checkpoint.attempt):
            raise InvalidRequest.of(
                field,
                f"step and attempt must match the name, {name.step} and {name.attempt}, but got "
                f"{checkpoint.step} and {checkpoint.attempt}",
            )


def _check_weights(taken: TakenWeights, field: str) -> None:
    """Refuse a list of tensors that would fill the record."""
    if len(taken.tensors) > _MAX_TENSORS:
        raise InvalidRequest.of(
            f"{field}.tensors", f"must be <= {_MAX_TENSORS}, but got {len(taken.tensors)}"
        )
    for index, entry in enumerate(taken.tensors):
        if len(entry.name) > _MAX_TENSOR_CHARS:
            raise InvalidRequest.of(
                f"{field}.tensors[{index}].name",
                f"must have <= {_MAX_TENSOR_CHARS} characters, but got {len(entry.name)}",
            )
        if max(len(entry.file_shape), len(entry.model_shape)) > _MAX_DIMENSIONS:
            raise InvalidRequest.of(
                f"{field}.tensors[{index}]", f"shapes must have <= {_MAX_DIMENSIONS} dimensions"
            )


def _with_weights(events: Sequence[Event], record: bytes) -> bytes:
    """Return a job's warnings with the weights beside them that its last attempt has taken."""
    taken = [event.taken_weights for event in events if event.HasField("taken_weights")]
    if not taken:
        return record
    job = Job.FromString(record)
    job.taken_weights.CopyFrom(taken[-1])
    return job.SerializeToString()


def _new_warnings(events: Sequence[Event], record: bytes) -> tuple[list[Event], bytes]:
    """Return the events without what the job was warned of before, and all its warnings.

    An attempt that begins anew warns anew.
    """
    if not any(event.HasField("warning") for event in events):
        return list(events), record
    job = Job.FromString(record)
    said = {(warning.kind, warning.field) for warning in job.warnings}
    fresh = []
    for event in events:
        if event.HasField("warning"):
            about = (event.warning.kind, event.warning.field)
            if about in said or len(job.warnings) >= _MAX_WARNINGS:
                continue
            said.add(about)
            job.warnings.append(readable(event.warning))
        fresh.append(event)
    return fresh, job.SerializeToString()


def _bounded(event: Event) -> Event:
    """Return an event without what is too long, and without values that have no good name.

    The values beside those stay; the summary of the same name is refused, and so the worker told.
    """
    bad = [name for name in event.metrics.values if not _names_metric(name)]
    if len(event.log.text) <= _MAX_LOG_CHARS and not bad:
        return event
    cut = Event()
    cut.CopyFrom(event)
    if event.HasField("log"):
        cut.log.text = event.log.text[:_MAX_LOG_CHARS] + "…"
    for name in bad:
        del cut.metrics.values[name]
    return cut


def _latest_progress(report: Report) -> Progress | None:
    if report.progress is not None:
        return report.progress
    for event in reversed(report.events):
        if event.HasField("progress"):
            return event.progress
    return None
