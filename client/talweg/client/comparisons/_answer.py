"""Answers: how sure a comparison is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from talweg.client._values import pandas
from talweg.v1.answers_pb2 import Answer as AnswerMessage
from talweg.v1.answers_pb2 import Question

if TYPE_CHECKING:
    from pandas import DataFrame


class Verdict(StrEnum):
    """What was found about a group against the baseline."""

    EQUIVALENT = "equivalent"
    """Within the margin; better or worse by less than it counts as equivalent."""
    BETTER = "better"
    WORSE = "worse"
    NOT_DISTINGUISHABLE = "not distinguishable"
    """More seeds may tell."""
    TOO_FEW = "too few"
    """With so few seeds no difference could be significant."""
    UNDECIDED = "undecided"
    """A sweep adds seeds while the question is open, and it is."""

    @classmethod
    def of(cls, number: int) -> "Verdict":
        """Convert the verdict of a message.

        Raises:
            ValueError: This client does not know it.
        """
        known: dict[int, Verdict] = {
            AnswerMessage.Verdict.Value(verdict.name): verdict for verdict in cls
        }
        if number not in known:
            raise ValueError(f"verdict must be one of {', '.join(cls)}, but got number {number}")
        return known[number]


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    """Its lower end."""
    high: float
    """Its upper end."""


@dataclass(frozen=True)
class Difference:
    """A group against the baseline, over the seeds, splits and folds that both have."""

    n: int
    """Number of pairs."""
    mean: float | None
    """Of the differences, group minus baseline; None without pairs."""
    sd: float | None
    """Of the differences; None below two pairs."""
    interval: Interval | None
    """Of the mean difference, for this group alone; None below two pairs."""
    p: float | None
    """Uncorrected; None where no difference could be significant."""
    adjusted_p: float | None
    """Corrected by Holm over all groups against the baseline; None as `p`."""
    equivalence_p: float | None
    """Of two one-sided tests, corrected by Holm; None without a margin or below two pairs."""
    verdict: Verdict
    """What was found."""
    needed: int | None
    """Pairs that would show a difference of the margin's size; None where unknown."""
    least: int
    """Pairs from which a difference can be significant, whatever the other groups show."""
    skewed: bool
    """The differences are so skewed that the interval covers less than it says."""
    text: str
    """The verdict in words."""
    needed_low: int | None = None
    """The low end of the 80% interval of `needed`, since few pairs tell sd roughly."""
    needed_high: int | None = None
    """The high end; None where unknown, or above 100,000."""
    num_looks: int = 0
    """Looks that the verdict rests on, where seeds were added while the question was open."""


@dataclass(frozen=True)
class AnswerGroup:
    """Statistics of one group."""

    labels: tuple[str, ...]
    """As those of the comparison's group."""
    n: int
    """Number of independent values: those with equal seeds, or of equal splits, count as one."""
    mean: float | None
    """Of these values; None without any."""
    sd: float | None
    """Of these values; None below two."""
    interval: Interval | None
    """Of the mean; None below two values."""
    method: str
    """How the interval was made: STUDENT_T, BOOTSTRAP_T or CORRECTED_T."""
    skewed: bool
    """The values are so skewed that the interval covers less than it says."""
    difference: Difference | None
    """To the baseline; None for the baseline, and without one."""


@dataclass(frozen=True)
class Inequality:
    """Something in which the groups differ beside seeds and what they are grouped by."""

    what: str
    """Such as ``optimizer.adamw.learning_rate``, ``steps`` or ``device``."""
    values: tuple[str, ...]
    """One per group."""


@dataclass(frozen=True)
class Answer:
    """Intervals of all groups and, with a baseline, a verdict on each of the others."""

    groups: tuple[AnswerGroup, ...]
    """In the order of the comparison's groups."""
    baseline: tuple[str, ...]
    """Labels of the baseline; empty without one."""
    margin: float | None
    """In the unit of the metric; None without one."""
    noise_floor: float | None
    """Standard deviation between the seeds of the baseline; None where unknown."""
    varied: tuple[str, ...]
    """What differs between the values of a group, such as ``training.seed``."""
    overlapping_splits: bool
    """The values are of splits that share samples."""
    test: str
    """Behind `p`: SIGN_FLIP or CORRECTED_RESAMPLED_T; empty without a baseline."""
    level: float
    """Nominal coverage of the intervals."""
    inequalities: tuple[Inequality, ...]
    """How the comparison is unequal; empty if it is fair as far as the record shows."""
    remarks: tuple[str, ...]
    """What a reader should know, in words."""

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The verdicts in words, one per group but the baseline."""
        return tuple(group.difference.text for group in self.groups if group.difference)

    def to_pandas(self) -> "DataFrame":
        """Return the groups as a data frame: a row a group.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = []
        for group in self.groups:
            difference = group.difference
            rows.append(
                {
                    "group": " ".join(group.labels),
                    "n": group.n,
                    "mean": group.mean,
                    "sd": group.sd,
                    **_ends(group.interval, ""),
                    "pairs": difference and difference.n,
                    "difference": difference and difference.mean,
                    **_ends(difference.interval if difference else None, "difference_"),
                    "p": difference and difference.p,
                    "adjusted_p": difference and difference.adjusted_p,
                    "equivalence_p": difference and difference.equivalence_p,
                    "verdict": difference and str(difference.verdict),
                    "needed": difference and difference.needed,
                }
            )
        frame: DataFrame = pandas().DataFrame(rows)
        return frame

    @classmethod
    def of(cls, message: AnswerMessage, labels: Sequence[tuple[str, ...]]) -> "Answer":
        """Convert the answer of a server.

        Args:
            message: The answer.
            labels: Of the comparison's groups.
        """
        test = AnswerMessage.Test.Name(message.test) if message.test else ""
        return cls(
            groups=tuple(
                _group(group, of_group)
                for group, of_group in zip(message.groups, labels, strict=True)
            ),
            baseline=tuple(message.baseline),
            margin=message.margin if message.HasField("margin") else None,
            noise_floor=message.noise_floor if message.HasField("noise_floor") else None,
            varied=tuple(message.varied),
            overlapping_splits=message.overlapping_splits,
            test=test,
            level=message.level,
            inequalities=tuple(
                Inequality(each.what, tuple(each.values)) for each in message.inequalities
            ),
            remarks=tuple(message.remarks),
        )


def question(baseline: str | None, margin: float | str | None) -> Question:
    """Return what is asked of a comparison.

    Args:
        baseline: The name of a group; None asks for intervals alone.
        margin: A number in the unit of the metric, or ``"1%"`` of the baseline's mean.

    Raises:
        ValueError: The margin is no such number, or has no baseline.
    """
    asked = Question(baseline=baseline or "")
    if margin is None:
        return asked
    if not baseline:
        raise ValueError("a margin needs a baseline")
    text = str(margin).strip()
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ValueError(
            f"margin must be a number > 0 in the unit of the metric, or a percentage such as 1% "
            f"of the baseline's mean, but got {margin!r}"
        )
    if text.endswith("%"):
        asked.relative_margin = value / 100
    else:
        asked.absolute_margin = value
    return asked


def _group(group: AnswerMessage.Group, labels: tuple[str, ...]) -> AnswerGroup:
    return AnswerGroup(
        labels=labels,
        n=group.n,
        mean=group.mean if group.HasField("mean") else None,
        sd=group.sd if group.HasField("sd") else None,
        interval=_interval(group.interval) if group.HasField("interval") else None,
        method=AnswerMessage.Method.Name(group.method),
        skewed=group.skewed,
        difference=_difference(group.difference) if group.HasField("difference") else None,
    )


def _difference(difference: AnswerMessage.Difference) -> Difference:
    has = difference.HasField
    return Difference(
        n=difference.n,
        mean=difference.mean if has("mean") else None,
        sd=difference.sd if has("sd") else None,
        interval=_interval(difference.interval) if has("interval") else None,
        p=difference.p if has("p") else None,
        adjusted_p=difference.adjusted_p if has("adjusted_p") else None,
        equivalence_p=difference.equivalence_p if has("equivalence_p") else None,
        verdict=Verdict.of(difference.verdict),
        needed=difference.needed if has("needed") else None,
        needed_low=difference.needed_low if has("needed_low") else None,
        needed_high=difference.needed_high if has("needed_high") else None,
        least=difference.least,
        skewed=difference.skewed,
        text=difference.text,
        num_looks=difference.num_looks,
    )


def _interval(interval: AnswerMessage.Interval) -> Interval:
    return Interval(interval.low, interval.high)


def _ends(interval: Interval | None, prefix: str) -> dict[str, float | None]:
    return {
        f"{prefix}low": interval.low if interval else None,
        f"{prefix}high": interval.high if interval else None,
    }
