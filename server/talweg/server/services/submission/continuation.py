"""Jobs that go on with another job's training."""

from dataclasses import replace

from sqlalchemy import Connection

from talweg.server.errors import InvalidSpec
from talweg.server.services.submission.violations import refused
from talweg.server.store import events, jobs
from talweg.server.store.jobs import NewJob
from talweg.server.store.record.rows import JobRow
from talweg.spec import (
    CheckpointName,
    Violation,
    check_continuation,
    continuation_changes,
    continuation_warnings,
    ends_at_evaluation,
    job_id,
    length_of,
    why_no_prefix,
)
from talweg.v1.jobs_pb2 import Checkpoint, Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Kept

_MOST_CHANGES = 20


def continued(connection: Connection, job: NewJob, spec: JobSpec) -> NewJob | InvalidSpec:
    """Give a new job the checkpoint from which it goes on.

    Args:
        connection: To read by.
        job: The job.
        spec: Its spec, filled and checked, with `continued_from`.

    Returns:
        The job with its checkpoint, its spec complete with the checkpoint's step; or what is wrong
        with it.
    """
    source = jobs.get_many(connection, [job_id(spec.continued_from.job)])
    row = next(iter(source.values()), None)
    checkpoint = _checkpoint(row, spec)
    if isinstance(checkpoint, Violation):
        return refused([checkpoint])
    assert row is not None
    violations = check_continuation(row.job_spec, spec, checkpoint)
    if spec.continued_from.as_whole and not violations:
        violations = _whole(connection, row, spec, checkpoint)
    if violations:
        return refused(violations)
    whole = JobSpec()
    whole.CopyFrom(spec)
    whole.continued_from.step = checkpoint.step
    start = Checkpoint()
    start.CopyFrom(checkpoint)
    start.for_good, start.best = True, False
    warned = Job.FromString(job.warnings)
    warned.warnings.extend(continuation_warnings(whole, checkpoint))
    return replace(
        job,
        spec=whole.SerializeToString(deterministic=True),
        warnings=warned.SerializeToString(deterministic=True),
        checkpoints=Kept(checkpoints=[start]).SerializeToString(),
        why=_why(row, whole),
        first_part=(row.seq, checkpoint.step) if spec.continued_from.as_whole else None,
    )


def last_checkpoint(row: JobRow) -> Checkpoint | None:
    """Return the checkpoint of the end of a job that has ended; None where it has kept none."""
    own = [each for each in row.kept if _is_of(row.name, each.name) and not each.best]
    unit, length = length_of(row.job_spec)
    if not own or (own[-1].epoch if unit == "epochs" else own[-1].step) != length:
        return None
    return own[-1]


def why_no_end(connection: Connection, row: JobRow) -> str:
    """Say why a longer job cannot go on from the end of one; empty where it can.

    Args:
        connection: To read by.
        row: The shorter job, which is the first part of the longer one by its spec.
    """
    end = last_checkpoint(row)
    if end is None:
        return "its last checkpoint is gone"
    if length_of(row.job_spec)[0] == "epochs":
        return ""
    first = events.first_evaluation(connection, row.seq)
    if first is None or not ends_at_evaluation(row.job_spec, end, first):
        return f"training.steps, {end.step}, does not end with an epoch that is evaluated"
    return ""


def _whole(
    connection: Connection, row: JobRow, spec: JobSpec, checkpoint: Checkpoint
) -> list[Violation]:
    """Check that a job's first part is the whole job that it goes on with."""
    why = why_no_prefix(row.job_spec, spec) or why_no_end(connection, row)
    if not why and row.state != Job.SUCCEEDED:
        why = "it has not SUCCEEDED"
    if not why and checkpoint != last_checkpoint(row):
        why = f"step {checkpoint.step} is not its end"
    if not why:
        return []
    allowed = f"a job that {row.name} is the first part of, but for which {why}"
    hint = "leave as_whole out: the job then has metrics of its own from that step on"
    return [Violation("continued_from.as_whole", "true", allowed, hint)]


def _checkpoint(row: JobRow | None, spec: JobSpec) -> Checkpoint | Violation:
    name, path = spec.continued_from.job, "continued_from"
    if row is None:
        return Violation(f"{path}.job", name, "a job that exists")
    if not row.ended:
        state = Job.State.Name(row.state)  # type: ignore[arg-type]
        return Violation(f"{path}.job", f"{name}, which is {state}", "a job that has ended")
    own = [each for each in row.kept if _is_of(name, each.name)]
    if not own:
        return Violation(
            f"{path}.job",
            f"{name}, which has no checkpoint",
            "a job with a checkpoint",
            "outputs.checkpoint keeps the last.",
        )
    if not spec.continued_from.HasField("step"):
        return own[-1]
    step = spec.continued_from.step
    for checkpoint in reversed(own):
        if checkpoint.step == step:
            return checkpoint
    steps = ", ".join(str(each.step) for each in own)
    return Violation(f"{path}.step", str(step), f"a step with a checkpoint of {name}: {steps}")


def _is_of(job: str, name: str) -> bool:
    try:
        return CheckpointName.parse(name).job == job
    except ValueError:
        return False


def _why(row: JobRow, spec: JobSpec) -> str:
    changes = [
        f"{path} {old} -> {new}"
        for path, (old, new) in continuation_changes(row.job_spec, spec).items()
    ]
    if len(changes) > _MOST_CHANGES:
        changes[_MOST_CHANGES:] = [f"and {len(changes) - _MOST_CHANGES} more"]
    what = "; ".join(changes) if changes else "nothing changed"
    return f"continues {row.name} from step {spec.continued_from.step}: {what}"
