"""How sure a comparison is: intervals, differences to a baseline, and verdicts.

The values come from the record, the statistics from a process of their own, the words from here.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from talweg.server.errors import InvalidRequest
from talweg.server.services.arguments import text
from talweg.server.services.comparison.compare import Comparison, Group
from talweg.server.services.comparison.fairness import NUM_VALUES, inequalities
from talweg.server.services.comparison.process import StatisticsProcess
from talweg.server.services.comparison.repetitions import Design
from talweg.server.services.comparison.units import GroupUnits, is_usable, units_of
from talweg.server.services.comparison.wording import Words, remarks
from talweg.spec.spelling import nearest
from talweg.v1.answers_pb2 import Answer, Question
from talweg.v1.options_pb2 import Goal
from talweg.v1.sweeps_pb2 import Decision

ALPHA = 0.05
"""The error of a wrong verdict, over all groups of an answer."""
_MAX_LABEL_CHARS = 2_000
_MOST_NAMED = 20


class AnswerService:
    """Answers questions about comparisons."""

    def __init__(self, process: StatisticsProcess) -> None:
        """Keep the process.

        Args:
            process: Computes the statistics.
        """
        self._process = process

    async def answer(
        self,
        comparison: Comparison,
        question: Question,
        group_by: Sequence[str],
        decisions: Mapping[str, Decision] | None = None,
    ) -> Answer:
        """Answer a question.

        Args:
            comparison: The groups.
            question: What is asked of them.
            group_by: The paths that they are grouped by.
            decisions: What looks have found, by the names of the groups, where seeds were added
                while the question was open; None where their number was fixed.

        Raises:
            InvalidRequest: There is no such baseline, it has no values, the margin is no margin,
                or the metric has no goal.
            InternalError: The statistics failed; the log says how.
        """
        await asyncio.to_thread(_refuse_session, comparison, question)
        # Thousands of specs are read, which is no work for the event loop.
        read = await asyncio.to_thread(read_values, comparison, question)
        found = await self._process.ask(read.asked) if comparison.groups else {"groups": []}
        return await asyncio.to_thread(
            _answer, comparison, read, found["groups"], group_by, decisions
        )


@dataclass(frozen=True)
class Values:
    """What is read of a comparison."""

    design: Design
    """Which seeds vary."""
    units: Sequence[GroupUnits]
    """The values of each group."""
    baseline: int | None
    """The index of the baseline."""
    margin: float | None
    """In the unit of the metric."""
    is_high: bool
    """Whether high values are better."""

    @property
    def asked(self) -> dict[str, Any]:
        """The question as talweg.statistics reads it."""
        return {
            "groups": [self._values(index) for index, _ in enumerate(self.units)],
            "higher_is_better": self.is_high,
            "margin": self.margin,
            "overlap": self.design.overlap,
            "alpha": ALPHA,
        }

    def _values(self, index: int) -> Mapping[str, Sequence[float] | None]:
        is_compared = self.baseline is not None and index != self.baseline
        differences = self.differences(index) if is_compared else None
        return {"values": self.units[index].values, "differences": differences}

    def differences(self, index: int) -> list[float]:
        """Return the differences of a group to the baseline, in the order of its values."""
        assert self.baseline is not None, "there is nothing to differ from"
        return self.units[index].differences(self.units[self.baseline])


def question_of(baseline: str, margin: str = "") -> Question:
    """Return what a sweep asks: a baseline, and a margin such as 1%; none where empty."""
    if margin.endswith("%"):
        return Question(baseline=baseline, relative_margin=float(margin.rstrip(" %")) / 100)
    if margin:
        return Question(baseline=baseline, absolute_margin=float(margin))
    return Question(baseline=baseline)


def read_values(comparison: Comparison, question: Question) -> Values:
    """Return the values of a comparison.

    Args:
        comparison: The groups.
        question: What is asked of them.

    Raises:
        InvalidRequest: There is no such baseline, it has no values, the margin is no margin, or
            the metric has no goal.
    """
    groups = comparison.groups
    baseline = _baseline(comparison, question)
    counting = [[row.job.job_spec for row in each.rows if row.counts] for each in groups]
    design = Design.of(counting, comparison.metric)
    units = [units_of(group, design) for group in groups]
    return Values(
        design=design,
        units=units,
        baseline=baseline,
        margin=_margin(question, units, baseline),
        is_high=comparison.goal == Goal.MAXIMIZE,
    )


def _refuse_session(comparison: Comparison, question: Question) -> None:
    """Refuse verdicts beside the budget of a session, on validation data as its answers.

    Raises:
        InvalidRequest: Jobs are of a session.
    """
    if not question.baseline:
        return
    specs = (row.job.job_spec for group in comparison.groups for row in group.rows)
    session = next((spec.session for spec in specs if spec.HasField("session")), None)
    if session is not None:
        raise InvalidRequest.of(
            "question.baseline",
            f"must be empty for jobs of session {session}, in which all comparisons share one "
            "error budget: ask for its answers by GetSession or `talweg session show NAME`",
        )


def _answer(
    comparison: Comparison,
    read: Values,
    found: Sequence[Mapping[str, Any]],
    group_by: Sequence[str],
    decisions: Mapping[str, Decision] | None,
) -> Answer:
    groups, baseline, design = comparison.groups, read.baseline, read.design
    num_values = [len(each.values) for each in read.units]
    answer = Answer(
        groups=map(_group, found),
        margin=read.margin,
        varied=design.varied,
        overlapping_splits=design.overlap > 0,
        level=1 - ALPHA,
        inequalities=inequalities(groups, num_values, group_by),
    )
    if baseline is not None:
        answer.baseline[:] = groups[baseline].labels
        answer.test = Answer.CORRECTED_RESAMPLED_T if design.overlap else Answer.SIGN_FLIP
        if answer.groups[baseline].HasField("sd"):
            answer.noise_floor = answer.groups[baseline].sd
    names = [" ".join(group.labels) for group in groups]
    if decisions is not None:
        _take_over(answer, names, decisions)
    _put_into_words(answer, names, baseline)
    num_averaged = sum(each.num_jobs - len(each.values) for each in read.units)
    answer.remarks[:] = remarks(answer, names, num_averaged=num_averaged)
    return answer


def _take_over(answer: Answer, names: Sequence[str], decisions: Mapping[str, Decision]) -> None:
    """Set the verdicts of the looks in place of those for a number of seeds that was fixed."""
    for name, group in zip(names, answer.groups, strict=True):
        if not group.HasField("difference"):
            continue
        decision, difference = decisions.get(name, Decision()), group.difference
        for figure in ("p", "adjusted_p", "equivalence_p"):
            difference.ClearField(figure)
        difference.verdict = decision.verdict or Answer.UNDECIDED
        difference.num_looks = len(decision.looks)
    # That they differ in it is what was asked for.
    wanted = [each for each in answer.inequalities if each.what != NUM_VALUES]
    del answer.inequalities[:]
    answer.inequalities.extend(wanted)


def _put_into_words(answer: Answer, names: Sequence[str], baseline: int | None) -> None:
    if baseline is None:
        return
    words = Words(answer, names, baseline)
    for index, group in enumerate(answer.groups):
        if group.HasField("difference"):
            group.difference.text = words.verdict(index)


def _baseline(comparison: Comparison, question: Question) -> int | None:
    """Return the index of the baseline; None where none is named.

    Raises:
        InvalidRequest: It is not one of the groups, or has no values.
    """
    name = text(question.baseline, field="question.baseline", most=_MAX_LABEL_CHARS)
    if not name:
        if question.WhichOneof("margin"):
            raise InvalidRequest.of("question.margin", "needs question.baseline")
        return None
    if comparison.goal == Goal.GOAL_UNSPECIFIED:
        raise InvalidRequest.of(
            "question.baseline",
            f"needs a metric of which low or high values are better, but {comparison.metric!r} "
            "is none: compare by a metric of the task, such as test/mae",
        )
    index = _found(name, comparison.groups)
    if index is None:
        names = [" ".join(group.labels) for group in comparison.groups]
        some = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
        description = f"found {name!r}; allowed: {some or 'nothing, as no jobs are compared'}"
        if hint := nearest(name, names):
            description += f". {hint}"
        raise InvalidRequest.of("question.baseline", description)
    if not any(map(is_usable, comparison.groups[index].values)):
        raise InvalidRequest.of(
            "question.baseline",
            f"must have a job that SUCCEEDED with a usable value of {comparison.metric}, but "
            f"{name!r} has none",
        )
    return index


def _found(name: str, groups: Sequence[Group]) -> int | None:
    whole = [index for index, each in enumerate(groups) if " ".join(each.labels) == name]
    part = [index for index, each in enumerate(groups) if name in each.labels]
    begun = [
        index
        for index, each in enumerate(groups)
        if any(label.startswith(f"{name} ") for label in each.labels)
    ]
    for found in (whole, part, begun):
        if len(found) == 1:
            return found[0]
    return None


def _margin(question: Question, units: Sequence[GroupUnits], baseline: int | None) -> float | None:
    kind = question.WhichOneof("margin")
    if kind is None or baseline is None:
        return None
    field, given = f"question.{kind}", getattr(question, kind)
    if not (math.isfinite(given) and given > 0):
        raise InvalidRequest.of(field, f"must be > 0 and finite, but got {given!r}")
    if kind == "absolute_margin":
        return float(given)
    margin = given * abs(fmean(units[baseline].values))
    if not (math.isfinite(margin) and margin > 0):
        raise InvalidRequest.of(
            field, "must be absolute_margin where the baseline's mean is 0 or no usable number"
        )
    return float(margin)


def _group(found: Mapping[str, Any]) -> Answer.Group:
    difference = found["difference"]
    return Answer.Group(
        n=found["n"],
        mean=found["mean"],
        sd=found["sd"],
        interval=_interval(found["interval"]),
        method=Answer.Method.Value(found["method"]),
        skewed=found["skewed"],
        difference=None if difference is None else _difference(difference),
    )


def _difference(found: Mapping[str, Any]) -> Answer.Difference:
    return Answer.Difference(
        n=found["n"],
        mean=found["mean"],
        sd=found["sd"],
        interval=_interval(found["interval"]),
        p=found["p"],
        adjusted_p=found["adjusted_p"],
        equivalence_p=found["equivalence_p"],
        verdict=Answer.Verdict.Value(found["verdict"]),
        needed=found["needed"],
        needed_low=found["needed_low"],
        needed_high=found["needed_high"],
        least=found["least"],
        skewed=found["skewed"],
    )


def _interval(found: Mapping[str, float] | None) -> Answer.Interval | None:
    return None if found is None else Answer.Interval(low=found["low"], high=found["high"])
