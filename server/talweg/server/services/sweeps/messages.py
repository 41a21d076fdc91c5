"""Messages of sweeps and trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf import json_format, struct_pb2

from talweg.server.store.record.clock import to_timestamp
from talweg.server.store.record.rows import SweepRow, TrialRow
from talweg.server.store.sweeps.trials import TrialJob
from talweg.spec import job_name
from talweg.spec.sweeps import Plan, setting_text
from talweg.v1.jobs_pb2 import TrackingRun
from talweg.v1.sweeps_pb2 import Decision, JobCount, SettingValue, Sweep, Trial, TrialCount


@dataclass(frozen=True)
class SweepView:
    """A sweep, and what is not in its row."""

    row: SweepRow
    """The row."""
    jobs: Mapping[int, int] = field(default_factory=dict)
    """How many of its jobs are in each state."""
    trials: Mapping[int, int] = field(default_factory=dict)
    """How many of its trials are in each state."""
    best: Sequence[Trial] = ()
    """The best trial of each search."""
    num_reused: int = 0
    """How many of its jobs were taken over from earlier sweeps."""
    tracking: TrackingRun | None = None
    """Its summary in MLflow; None while there is none."""
    num_continued: int = 0
    """How many of its jobs went on from shorter ones."""


def sweep_message(view: SweepView) -> Sweep:
    """Return a sweep's message."""
    row = view.row
    message = Sweep(
        name=row.name if row.id else "",
        project=row.project,
        state=row.state,  # type: ignore[arg-type]
        message=row.message,
        num_trials=row.num_trials,
        num_jobs=row.num_jobs,
        jobs=[
            JobCount(state=state, count=count)  # type: ignore[arg-type]
            for state, count in sorted(view.jobs.items())
        ],
        trials=[
            TrialCount(state=state, count=count)  # type: ignore[arg-type]
            for state, count in sorted(view.trials.items())
        ],
        best=view.best,
        in_final_phase=row.is_final,
        num_reused=view.num_reused,
        num_continued=view.num_continued,
        last_cursor=row.last_cursor if row.id else 0,
        tracking=view.tracking,
    )
    message.spec.ParseFromString(row.spec)
    if row.create_time:
        message.create_time.CopyFrom(to_timestamp(row.create_time))
    if row.end_time is not None:
        message.end_time.CopyFrom(to_timestamp(row.end_time))
    if row.deadline is not None:
        message.deadline.CopyFrom(to_timestamp(row.deadline))
    return message


def trial_message(trial: TrialRow, plan: Plan, jobs: Sequence[TrialJob]) -> Trial:
    """Return a trial's message.

    Args:
        trial: The trial.
        plan: Of its sweep.
        jobs: Its jobs, by seed.
    """
    return Trial(
        number=trial.number,
        state=trial.state,  # type: ignore[arg-type]
        setting=[
            SettingValue(path=path, value=json_format.ParseDict(value, struct_pb2.Value()))
            for path, value in trial.pairs
        ],
        label=setting_text(trial.pairs),
        compared=plan.searches[trial.search].label,
        is_final=trial.is_final,
        jobs=[job_name(job.job) for job in jobs],
        value=trial.value,
        sd=trial.sd,
        count=trial.count,
        message=trial.message,
        reused=sum(job.reused for job in jobs),
        continued=sum(job.continued for job in jobs),
        decision=decision_of(trial) if trial.decision else None,
    )


def decision_of(trial: TrialRow) -> Decision:
    """Return what the looks at a trial have found; an empty one before the first."""
    return Decision.FromString(trial.decision)


def is_decided(trial: TrialRow) -> bool:
    """Return whether a final trial gets no more seeds, where seeds are added."""
    return decision_of(trial).why not in (Decision.WHY_UNSPECIFIED, Decision.OPEN)
