"""What is known of a proposal: its differences to its baseline, in an order fixed beforehand.

The order is that in which the jobs were submitted, and a job that has not ended holds up all
behind it: so which pairs a look has does not depend on what they show.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from talweg.server.services.comparison.measured import measured
from talweg.server.services.comparison.repetitions import Design, Repetition
from talweg.server.services.comparison.units import is_usable
from talweg.server.services.sessions.settings import run_digest
from talweg.server.services.sweeps.plans import Plans
from talweg.server.store import jobs, sessions
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.session_rows import ProposalRow, SessionRow
from talweg.server.store.sweeps import sweeps, trials
from talweg.spec import goal_of, primary_metric
from talweg.v1.jobs_pb2 import Job
from talweg.v1.options_pb2 import Goal

_FAILED = (Job.FAILED, Job.CANCELLED)
# Of values; those that differ by less are equal.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Pairs:
    """A proposal beside its baseline."""

    baseline: str = ""
    """In words."""
    metric: str = ""
    """By which they are compared; empty where there are no jobs yet."""
    is_high: bool = False
    """Whether high values are better."""
    differences: Sequence[float] = ()
    """Proposal minus baseline; infinite where one has no value though it has ended."""
    num_planned: int = 0
    """Their number, where it was fixed when a sweep was created; else 0."""
    is_complete: bool = False
    """All of those are there."""
    overlap: float = 0.0
    """Test samples per training sample, where pairs are splits of the same data; else 0."""
    mean: float | None = None
    """Of the baseline; None without values."""
    held_up_by: str = ""
    """A job that failed or was cancelled, and may be submitted again; empty where none has."""
    num_seen: int = 0
    """Jobs that are left out, as they ran before in the session."""


@dataclass
class PairReader:
    """Reads the proposals of a session."""

    plans: Plans = field(default_factory=Plans)
    """Of sweeps."""

    def read(
        self, connection: Connection, session: SessionRow, proposals: Sequence[ProposalRow]
    ) -> dict[int, Pairs]:
        """Return what is known of each proposal that has a share, by its number.

        Args:
            connection: To read by.
            session: The session.
            proposals: All of it.
        """
        is_closed = session.close_time is not None
        single, num_seen = _single(connection, session)
        labels = {each.number: each.label for each in proposals}
        found = {}
        for each in proposals:
            if each.sweep:
                found[each.number] = self._of_sweep(connection, each, is_closed)
            elif each.place:
                ours, theirs = single.get(each.number, ()), single.get(each.baseline, ())
                pairs = _pairs(
                    connection,
                    ours,
                    theirs,
                    metric=primary_metric(theirs[0].job_spec) if theirs else "",
                    baseline=labels[each.baseline],
                    is_closed=is_closed,
                )
                left_out = num_seen[each.number] + num_seen[each.baseline]
                found[each.number] = replace(pairs, num_seen=left_out)
        return found

    def _of_sweep(self, connection: Connection, proposal: ProposalRow, is_closed: bool) -> Pairs:
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
            is_closed=is_closed,
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


def difference_of(ours: float | None, theirs: float | None, *, is_high: bool) -> float:
    """Return the difference of a pair; infinite where one of them has no value.

    Both sides are treated alike: were a baseline that diverged left out, and a proposal that
    diverged the worst, equal ones would differ.

    Args:
        ours: Of the proposal; None where it diverged.
        theirs: Of the baseline.
        is_high: Whether high values are better.
    """
    if ours is not None and theirs is not None:
        is_equal = abs(ours - theirs) <= _ROUNDING * max(abs(ours), abs(theirs))
        return 0.0 if is_equal else ours - theirs
    if ours is None and theirs is None:
        return 0.0
    return math.inf if (ours is None) != is_high else -math.inf


def _single(
    connection: Connection, session: SessionRow
) -> tuple[dict[int, list[JobRow]], Counter[int]]:
    """Return the single jobs by proposal, without those that ran before, and how many did.

    Of what ran before, in a sweep or under another tag, it may be known how it comes out.
    """
    owners = {job.job: job.proposal for job in sessions.jobs_of(connection, session.seq)}
    single: dict[int, list[JobRow]] = {}
    num_seen: Counter[int] = Counter()
    before: dict[bytes, set[int]] = {}
    for row in sessions.rows_of(connection, session.seq).values():
        owner = owners[row.id]
        earlier = before.setdefault(run_digest(row.spec), set())
        if owner and not earlier - {owner}:
            single.setdefault(owner, []).append(row)
        elif owner:
            num_seen[owner] += 1
        earlier.add(owner)
    return single, num_seen


def _pairs(
    connection: Connection,
    ours: Sequence[JobRow],
    theirs: Sequence[JobRow],
    *,
    metric: str,
    baseline: str,
    is_closed: bool,
    num_planned: int = 0,
) -> Pairs:
    if not ours or not theirs:
        return Pairs(baseline, metric, num_planned=num_planned)
    is_high = goal_of(theirs[0].job_spec, metric) == Goal.MAXIMIZE
    values = {
        seq: each.value
        for seq, each in measured(connection, [*ours, *theirs], metric).items()
        if is_usable(each.value)
    }
    design = Design.of([[row.job_spec for row in rows] for rows in (ours, theirs)], metric)
    # It may be submitted again until the session is closed, and who asks when decides nothing.
    failed = [] if is_closed else [row.name for row in (*ours, *theirs) if row.state in _FAILED]
    differences: list[float] = []
    units = set()
    held_up_by = ""
    for our, their in _together(ours, theirs):
        if not our.ended or not their.ended:
            break
        held_up_by = next((row.name for row in (our, their) if row.name in failed), "")
        if held_up_by:
            break
        unit = Repetition.of(our.job_spec).unit(design.level)
        if their.state in _FAILED or unit in units:
            continue
        units.add(unit)
        one, other = (
            values.get(row.seq) if row.state == Job.SUCCEEDED else None for row in (our, their)
        )
        if our.state in _FAILED:
            # The worst, whatever became of the baseline.
            one, other = None, other if other is not None else 0.0
        differences.append(difference_of(one, other, is_high=is_high))
    of_baseline = [values[row.seq] for row in theirs if row.seq in values]
    return Pairs(
        baseline=baseline,
        metric=metric,
        is_high=is_high,
        differences=differences,
        num_planned=num_planned,
        # Less than all would be as many as somebody wished who has seen them.
        is_complete=len(ours) == len(theirs) == num_planned
        and not held_up_by
        and all(row.ended for row in (*ours, *theirs)),
        overlap=design.overlap,
        mean=sum(of_baseline) / len(of_baseline) if of_baseline else None,
        held_up_by=held_up_by,
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
        if seeds not in found or found[seeds].state in _FAILED:
            found[seeds] = row
    return found
