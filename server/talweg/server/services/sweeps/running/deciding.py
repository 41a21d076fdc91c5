"""Fresh seeds that are added only while it is open which compared values differ.

A look is taken once all jobs up to it have ended. It is read, computed in the process of the
statistics, and written where nothing has changed since. What was found stands in the record, so
that another server goes on alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from talweg.server.errors import BadMetric, InvalidRequest
from talweg.server.services.comparison.answer import Values, question_of, read_values
from talweg.server.services.comparison.compare import Comparison, ComparisonService, Group
from talweg.server.services.comparison.process import StatisticsProcess
from talweg.server.services.comparison.wording import number
from talweg.server.services.sweeps.messages import decision_of, is_decided, trial_message
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import SweepRow, TrialRow
from talweg.server.store.sweeps import sweeps, trials
from talweg.spec import job_name
from talweg.spec.states import has_ended
from talweg.spec.sweeps import Plan
from talweg.v1.answers_pb2 import Answer
from talweg.v1.jobs_pb2 import Job
from talweg.v1.sweeps_pb2 import Decision, Sweep, SweepEvent, Trial

_BASELINE = "baseline"


@dataclass(frozen=True)
class DueLook:
    """A look that can be taken: all jobs up to it have ended."""

    final: Sequence[TrialRow]
    """All final trials."""
    baseline: TrialRow | None
    """The one that the others are compared with; None where it has no result."""
    undecided: Sequence[TrialRow]
    """Those whose question is open."""
    jobs: Mapping[str, int]
    """The numbers of baseline and undecided trials by the names of their jobs."""

    @property
    def num_seeds(self) -> int:
        """Seeds that each of them has; 0 before the first look."""
        return max((trial.num_wanted for trial in self.undecided), default=0)

    def label(self, number: int) -> str:
        """Return what a trial is called in a comparison."""
        is_baseline = self.baseline is not None and number == self.baseline.number
        return _BASELINE if is_baseline else str(number)

    @property
    def has_seeds_left(self) -> bool:
        """Whether the baseline can have more seeds."""
        return self.baseline is not None and _is_open(self.baseline)


class DecidingService:
    """Takes looks at the compared values of sweeps."""

    def __init__(self, database: Database, process: StatisticsProcess) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            process: Computes the statistics.
        """
        self._database = database
        self._process = process
        self._comparison = ComparisonService(database)

    async def decide(self, row: SweepRow, plan: Plan) -> bool:
        """Take a look where one is due.

        Args:
            row: The sweep, RUNNING, with final trials.
            plan: Its trials.

        Returns:
            Whether one was taken.

        Raises:
            InternalError: The statistics failed; the log says how.
        """
        due = await self._database.reading(due_look, row, plan)
        if due is None:
            return False
        asked = await self._question(due, plan)
        found = await self._process.ask(asked) if due.undecided else {"looks": [], "next_seeds": 0}
        return await self._database.writing_relaxed(write_look, row.id, plan, due, found)

    async def _question(self, due: DueLook, plan: Plan) -> dict[str, Any]:
        decide = plan.spec.compare.decide
        asked: dict[str, Any] = {
            "comparisons": [
                {"differences": [], "looks": _pairs_of_looks(trial)} for trial in due.undecided
            ],
            "num_seeds": due.num_seeds,
            "max_seeds": decide.max_seeds,
            # Each comparison has its share (Bonferroni): which of them end first is not known.
            "error": decide.error / max(1, len(due.final) - 1),
            "is_last": not due.has_seeds_left,
        }
        values = await self._values(due, plan) if due.num_seeds or due.baseline is None else None
        if values is None:
            return asked
        for index, comparison in enumerate(asked["comparisons"], start=1):
            comparison["differences"] = values.differences(index)
        return asked | {
            "higher_is_better": values.is_high,
            "margin": values.margin,
            "overlap": values.design.overlap,
        }

    async def _values(self, due: DueLook, plan: Plan) -> Values | None:
        """Return the values of the baseline and of undecided trials; None where there are none."""
        if due.baseline is None or not due.jobs:
            return None
        compare = plan.spec.compare
        try:
            comparison = await self._comparison.compare(
                names=list(due.jobs),
                metric=compare.metric,
                labels={job: due.label(trial) for job, trial in due.jobs.items()},
            )
        except BadMetric:
            # None of them has got as far as to its tests.
            return None
        comparison = _in_turn(comparison, due)
        for margin in dict.fromkeys((compare.margin, "")):
            try:
                return read_values(comparison, question_of(_BASELINE, margin))
            except InvalidRequest:
                # A margin relative to a mean of 0; or the baseline has no result.
                continue
        return None


def due_look(connection: Connection, row: SweepRow, plan: Plan) -> DueLook | None:
    """Return the look that is to be taken now; None while jobs up to it have not ended.

    Args:
        connection: To read by.
        row: The sweep.
        plan: Its trials.
    """
    final = trials.final(connection, row.seq)
    baseline = next((each for each in final if each.search == plan.baseline), None)
    undecided = [
        each
        for each in final
        # One that was refused ends once its jobs have.
        if each is not baseline and _is_open(each) and not is_decided(each)
    ]
    if not undecided and (baseline is None or not _is_open(baseline) or is_decided(baseline)):
        return None
    looked_at = [*undecided, *([] if baseline is None else [baseline])]
    jobs = trials.jobs_of(connection, row.seq, [each.number for each in looked_at])
    if any(
        _is_open(each) and len(jobs.get(each.number, ())) < each.num_wanted for each in looked_at
    ):
        return None
    of_trials = [job for of_trial in jobs.values() for job in of_trial]
    states = trials.states_of(connection, [job.job for job in of_trials])
    if not all(has_ended(states.get(job.job, Job.CANCELLED)) for job in of_trials):
        return None
    known = {job_name(job.job): job.trial for job in of_trials if job.job in states}
    return DueLook(final, baseline, undecided, known)


def write_look(
    tx: Transaction, id_: str, plan: Plan, due: DueLook, found: Mapping[str, Any]
) -> bool:
    """Write down what a look has found, and how many seeds trials are to have now.

    Args:
        tx: A transaction.
        id_: The sweep.
        plan: Its trials.
        due: The look.
        found: What the statistics have answered.

    Returns:
        Whether it was written; not where something has changed since.
    """
    row = sweeps.lock(tx, id_)
    if row.state != Sweep.RUNNING or row.closing:
        return False
    if trials.final(tx.connection, row.seq) != list(due.final):
        return False
    following = found["next_seeds"]
    jobs = trials.jobs_of(tx.connection, row.seq, [each.number for each in due.undecided])
    told = []
    num_open = 0
    for trial, look in zip(due.undecided, found["looks"], strict=True):
        values: dict[str, Any] = {}
        if look["why"] == "OPEN":
            num_open += 1
            values["num_wanted"] = following
        if due.num_seeds or look["why"] != "OPEN":
            decision = _decision(trial, look, due.num_seeds, following, plan)
            values["decision"] = decision.SerializeToString(deterministic=True)
        changed = trials.change(tx, trial, **values)
        if changed.decision:
            message = trial_message(changed, plan, jobs.get(trial.number, ()))
            told.append(SweepEvent(looked=message))
    if due.baseline is not None and due.has_seeds_left:
        if num_open:
            trials.change(tx, due.baseline, num_wanted=following)
        else:
            ended = Decision(why=Decision.BASELINE, text="all other values are decided")
            trials.change(tx, due.baseline, decision=ended.SerializeToString(deterministic=True))
    sweeps.append(tx, row, told)
    return True


def _is_open(trial: TrialRow) -> bool:
    """Return whether a trial can have more seeds."""
    return trial.state == Trial.RUNNING and not trial.message


def _pairs_of_looks(trial: TrialRow) -> list[int]:
    return [look.pairs for look in decision_of(trial).looks if look.HasField("p")]


def _in_turn(comparison: Comparison, due: DueLook) -> Comparison:
    """Return the baseline as the first group, and each undecided trial as one, in turn.

    Within each the values are by seed, so that those of earlier looks come first.
    """
    found = {group.labels: group for group in comparison.groups}
    assert due.baseline is not None, "values are read where there is a baseline"
    labels = [(due.label(trial.number),) for trial in (due.baseline, *due.undecided)]
    return replace(comparison, groups=[found.get(each) or Group(each, ()) for each in labels])


def _decision(
    trial: TrialRow, look: Mapping[str, Any], num_seeds: int, following: int, plan: Plan
) -> Decision:
    decision = decision_of(trial)
    figures = {
        name: look[name] for name in ("p", "level", "equivalence_p", "equivalence_level", "power")
    }
    decision.looks.add(num_seeds=num_seeds, pairs=look["pairs"], **figures)
    decision.why = Decision.Why.Value(look["why"])
    decision.verdict = (
        Answer.UNDECIDED if look["verdict"] is None else Answer.Verdict.Value(look["verdict"])
    )
    decision.text = _text(decision, following, plan)
    return decision


def _text(decision: Decision, following: int, plan: Plan) -> str:
    look = decision.looks[-1]
    if decision.why == Decision.NO_PAIRS:
        return "no seed has a result of this value and of the baseline: no more seeds are added"
    parts = [f"after {look.pairs} paired seed{'s' * (look.pairs != 1)}"]
    parts += [
        f"{name} {_held(p, level)}"
        for name, p, level in (
            ("p", look.p if look.HasField("p") else None, look.level),
            (
                "p of equivalence",
                look.equivalence_p if look.HasField("equivalence_p") else None,
                look.equivalence_level,
            ),
        )
        if p is not None
    ]
    return f"{', '.join(parts)}: {_consequence(decision, following, plan)}"


def _held(p: float, level: float) -> str:
    """Return a p value and the level that it is held against."""
    sign = "<=" if p <= level else ">"
    return f"{number(p, digits=2)} {sign} {number(level, digits=2)}"


def _consequence(decision: Decision, following: int, plan: Plan) -> str:
    match decision.why:
        case Decision.OPEN:
            return f"still open, so seeds are added, up to {following}"
        case Decision.DIFFERENCE:
            word = "better" if decision.verdict == Answer.BETTER else "worse"
            return f"{word} than the baseline, so no more seeds are added"
        case Decision.EQUIVALENCE:
            return f"equivalent within {plan.spec.compare.margin}, so no more seeds are added"
        case Decision.FUTILITY:
            power = number(decision.looks[-1].power, digits=2)
            return f"more seeds would decide with probability {power}, so none are added"
    return f"there are no more seeds than {decision.looks[-1].num_seeds}"
