"""What is known of a proposal: its differences to its baseline, in an order fixed beforehand.

The order is that in which the jobs were submitted, and a job that has not ended holds up all
behind it: so which pairs a look has does not depend on what they show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from talweg.server.services.comparison.measured import measured
from talweg.server.services.comparison.repetitions import Design, Repetition
from talweg.server.services.comparison.units import is_usable
from talweg.server.services.sweeps.plans import Plans
from talweg.server.store import jobs, sessions
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.session_rows import ProposalRow
from talweg.server.store.sweeps import sweeps, trials
from talweg.spec import goal_of, primary_metric
from talweg.v1.jobs_pb2 import Job
from talweg.v1.options_pb2 import Goal


@dataclass(frozen=True)
class Pairs:
    """A proposal beside its baseline."""

    baseline: str = ""
    """In words."""
    metric: str = ""
    """By which they are compared; empty where there are no jobs yet."""
    is_high: bool = False
    """Whether high values are better."""
    differences: Sequence[float | None] = ()
    """Proposal minus baseline; None where the proposal has no value though it has ended."""
    num_planned: int = 0
    """Their number, where it was fixed when a sweep was created; else 0."""
    is_complete: bool = False
    """All of those are there."""
    overlap: float = 0.0
    """Test samples per training sample, where pairs are splits of the same data; else 0."""
    mean: float | None = None
    """Of the baseline; None without values."""


@dataclass
class PairReader:
    """Reads the proposals of a session."""

    plans: Plans = field(default_factory=Plans)
    """Of sweeps."""

    def read(
        self, connection: Connection, session: int, proposals: Sequence[ProposalRow]
    ) -> dict[int, Pairs]:
        """Return what is known of each proposal that has a share, by its number.

        Args:
            connection: To read by.
            session: Its `seq`.
            proposals: All of the session.
        """
        rows = sessions.rows_of(connection, session)
        single: dict[int, list[JobRow]] = {}
        for job in sessions.jobs_of(connection, session):
            if job.proposal and job.job in rows:
                single.setdefault(job.proposal, []).append(rows[job.job])
        for of_proposal in single.values():
            of_proposal.sort(key=lambda row: row.seq)
        labels = {each.number: each.label for each in proposals}
        found = {}
        for each in proposals:
            if each.sweep:
                found[each.number] = self._of_sweep(connection, each)
            elif each.place:
                ours, theirs = single.get(each.number, ()), single.get(each.baseline, ())
                metric = primary_metric(theirs[0].job_spec) if theirs else ""
                found[each.number] = _pairs(
                    connection, ours, theirs, metric=metric, baseline=labels[each.baseline]
                )
        return found

    def _of_sweep(self, connection: Connection, proposal: ProposalRow) -> Pairs:
        row = sweeps.get(connection, proposal.sweep)
        plan = self.plans.of(row)
        baseline = plan.searches[proposal.baseline].label
        by_search = self.final_jobs(connection, proposal.sweep)
        return _pairs(
            connection,
            by_search.get(proposal.search, ()),
            by_search.get(proposal.baseline, ()),
            metric=plan.spec.objective.metric,
            baseline=baseline,
            num_planned=plan.final_seeds,
        )

    def final_jobs(self, connection: Connection, sweep: str) -> dict[int, list[JobRow]]:
        """Return the jobs of the final trials of a sweep by the index of their search."""
        row = sweeps.get(connection, sweep)
        final = trials.final(connection, row.seq)
        of_trials = trials.jobs_of(connection, row.seq, [each.number for each in final])
        ids = [job.job for of_trial in of_trials.values() for job in of_trial]
        rows = jobs.get_many(connection, ids)
        return {
            each.search: [
                rows[job.job]
                for job in sorted(of_trials.get(each.number, ()), key=lambda job: job.seed)
                if job.job in rows
            ]
            for each in final
        }


def _pairs(
    connection: Connection,
    ours: Sequence[JobRow],
    theirs: Sequence[JobRow],
    *,
    metric: str,
    baseline: str,
    num_planned: int = 0,
) -> Pairs:
    if not ours or not theirs:
        return Pairs(baseline, metric, num_planned=num_planned)
    goal = goal_of(theirs[0].job_spec, metric)
    values = {
        seq: each.value
        for seq, each in measured(connection, [*ours, *theirs], metric).items()
        if is_usable(each.value)
    }
    design = Design.of([[row.job_spec for row in rows] for rows in (ours, theirs)], metric)
    differences: list[float | None] = []
    units = set()
    for our, their in _together(ours, theirs):
        if not our.ended or not their.ended:
            break
        unit = Repetition.of(our.job_spec).unit(design.level)
        if their.state != Job.SUCCEEDED or their.seq not in values or unit in units:
            continue
        units.add(unit)
        has_value = our.state == Job.SUCCEEDED and our.seq in values
        differences.append(values[our.seq] - values[their.seq] if has_value else None)
    of_baseline = [values[row.seq] for row in theirs if row.seq in values]
    return Pairs(
        baseline=baseline,
        metric=metric,
        is_high=goal == Goal.MAXIMIZE,
        differences=differences,
        num_planned=num_planned,
        # Less than all would be as many as somebody wished who has seen them.
        is_complete=len(ours) == len(theirs) == num_planned
        and all(row.ended for row in (*ours, *theirs)),
        overlap=design.overlap,
        mean=sum(of_baseline) / len(of_baseline) if of_baseline else None,
    )


def _together(ours: Sequence[JobRow], theirs: Sequence[JobRow]) -> Sequence[tuple[JobRow, JobRow]]:
    """Return the pairs: of equal seeds; where none are equal, the first two, the second two, …."""
    our, their = _by_seeds(ours), _by_seeds(theirs)
    pairs = [(row, their[seeds]) for seeds, row in our.items() if seeds in their]
    return pairs or list(zip(our.values(), their.values(), strict=False))


def _by_seeds(rows: Sequence[JobRow]) -> dict[Repetition, JobRow]:
    """Return a job for each of the seeds, in the order of submission.

    The first one counts: a repeated job finds the same. Only where it failed, or was cancelled,
    one that was submitted again stands in for it.
    """
    found: dict[Repetition, JobRow] = {}
    for row in rows:
        seeds = Repetition.of(row.job_spec)
        if seeds not in found or found[seeds].state in (Job.FAILED, Job.CANCELLED):
            found[seeds] = row
    return found
