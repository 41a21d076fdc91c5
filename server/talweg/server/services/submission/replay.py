"""Jobs that replay a step of another job."""

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import Connection

from talweg.server.errors import InvalidSpec
from talweg.server.services.submission.violations import refused
from talweg.server.store import jobs
from talweg.server.store.jobs import NewJob
from talweg.server.store.record.rows import JobRow
from talweg.spec import CheckpointName, Violation, check_replay, job_id
from talweg.v1.jobs_pb2 import Checkpoint, Job, Outcome, Progress
from talweg.v1.spec_pb2 import JobSpec, Outputs
from talweg.v1.workers_pb2 import Kept


def replayed(connection: Connection, job: NewJob, spec: JobSpec) -> NewJob | InvalidSpec:
    """Give a replay the checkpoints before its step, the nearest of which it restores.

    The other job may still be running and may remove some of them before the replay begins: it
    then restores an earlier one, or replays from the initial state.

    Args:
        connection: To read by.
        job: The replay.
        spec: Its spec, filled and checked, with `replay`.

    Returns:
        The replay with its checkpoints; or what is wrong with it.
    """
    asked, continued = spec.replay, spec.continued_from
    ids = [job_id(name) for name in (asked.job, continued.job) if name]
    rows = jobs.get_many(connection, ids)
    row = rows.get(job_id(asked.job))
    violations = _violations(row, spec)
    if violations:
        return refused(violations)
    assert row is not None
    source = rows.get(job_id(continued.job)) if continued.job else None
    starts = _starts(row, source, spec)
    if continued.job and not starts:
        found = f"{asked.job}, which continues {continued.job} from step {continued.step}"
        allowed = f"a job with a checkpoint before step {asked.step}"
        hint = f"Neither job has one any more, so nothing leads to step {asked.step}."
        return refused([Violation("replay.job", found, allowed, hint)])
    whole = JobSpec()
    whole.CopyFrom(spec)
    # It trains no model to keep.
    whole.outputs.CopyFrom(Outputs(model=False, plots=False, checkpoint=False))
    nearest = max((each.step for each in starts), default=0)
    return replace(
        job,
        spec=whole.SerializeToString(deterministic=True),
        checkpoints=Kept(checkpoints=starts).SerializeToString() if starts else None,
        why=f"replays step {asked.step} of {asked.job} from step {nearest}",
    )


def _violations(row: JobRow | None, spec: JobSpec) -> list[Violation]:
    asked = spec.replay
    if row is None:
        return [Violation("replay.job", asked.job, "a job that exists")]
    if row.job_spec.HasField("replay"):
        hint = f"It replays {row.job_spec.replay.job}: name that."
        return [Violation("replay.job", f"{asked.job}, a replay", "a job that trains", hint)]
    first = row.job_spec.continued_from.step + 1
    last = _steps_taken(row)
    if not first <= asked.step <= last:
        state = Job.State.Name(row.state)  # type: ignore[arg-type]
        allowed = f"{first} to {last}, the steps that {asked.job} has taken"
        if last < first:
            allowed = f"a step that {asked.job}, which is {state}, has taken: it has taken none"
        return [Violation("replay.step", str(asked.step), allowed)]
    return check_replay(row.job_spec, spec)


def _steps_taken(row: JobRow) -> int:
    """Return the last step that a job is known to have begun."""
    progress = Progress.FromString(row.progress or b"").step
    diverged = Outcome.FromString(row.outcome or b"").divergence.step
    return max(progress, diverged, *(each.step for each in row.kept), 0)


def _starts(row: JobRow, source: JobRow | None, spec: JobSpec) -> list[Checkpoint]:
    """Return the checkpoints from which the step can be reached, by step."""
    by_name = {each.name: each for each in _before(row, row.name, spec.replay.step)}
    if source is not None:
        step = spec.continued_from.step
        of_source = [*_before(row, source.name, step + 1), *_before(source, source.name, step + 1)]
        by_name |= {each.name: each for each in of_source if each.step == step}
    starts = []
    for checkpoint in sorted(by_name.values(), key=lambda each: (each.step, not each.best)):
        start = Checkpoint()
        start.CopyFrom(checkpoint)
        start.for_good, start.best = True, False
        starts.append(start)
    return starts


def _before(row: JobRow, job: str, step: int) -> Iterator[Checkpoint]:
    """Return the checkpoints of a job before a step that a row names."""
    for checkpoint in row.kept:
        try:
            is_of_job = CheckpointName.parse(checkpoint.name).job == job
        except ValueError:
            continue
        if is_of_job and checkpoint.step < step:
            yield checkpoint
