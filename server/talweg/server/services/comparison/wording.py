"""An answer in words."""

from collections.abc import Iterator, Sequence

from talweg.v1.answers_pb2 import Answer

_MOST_NAMED = 5
_WHAT_VARIES = {
    "dataset.seed": "the data",
    "split.seed": "the split",
    "split.fold": "the fold",
    "preprocessing.seed": "the preprocessing",
    "training.seed": "initial weights and the order of samples",
}


class Words:
    """Verdicts of an answer with a baseline."""

    def __init__(self, answer: Answer, names: Sequence[str], baseline: int) -> None:
        """Keep the answer.

        Args:
            answer: The answer.
            names: Of its groups.
            baseline: The index of the baseline.
        """
        self._answer = answer
        self._names = names
        self._baseline = names[baseline]
        self._reference = answer.groups[baseline].mean
        self._num = sum(
            group.HasField("difference") and group.difference.n > 0 for group in answer.groups
        )
        self._units = "splits" if answer.overlapping_splits else "seeds"

    def verdict(self, index: int) -> str:
        """Return the verdict on a group, with what it rests on."""
        difference = self._answer.groups[index].difference
        name, baseline = self._names[index], self._baseline
        figures = f"{self._figures(difference)}, {self._count(difference.n)}"
        if difference.verdict == Answer.EQUIVALENT:
            return f"{name} is equivalent to {baseline} within {self._margin}: {figures}"
        if difference.verdict == Answer.BETTER:
            return f"{name} is better than {baseline}: {figures}"
        if difference.verdict == Answer.WORSE:
            return f"{name} is worse than {baseline}: {figures}"
        if difference.verdict == Answer.NOT_DISTINGUISHABLE:
            needed = self._needed(difference)
            return f"{name} is not distinguishable from {baseline}: {figures}{needed}"
        if difference.verdict == Answer.UNDECIDED and difference.n:
            return f"{name} is not decided against {baseline}: {figures}"
        if not self._answer.groups[index].n:
            return f"{name} cannot be compared: it has no usable value"
        if not difference.n:
            return f"{name} cannot be compared: it shares no {self._units} with {baseline}"
        comparisons = f" in {self._num} comparisons" if self._num > 1 else ""
        figures = f"{self._figures(difference)}{self._needed(difference)}"
        return (
            f"{name} cannot be told from {baseline} with {self._count(difference.n)}: no "
            f"difference, however large, is significant{comparisons}, but from "
            f"{difference.least} on one can be; {figures}"
        )

    @property
    def _margin(self) -> str:
        return f"±{number(self._answer.margin)}{self._share(self._answer.margin, sign='')}"

    def _figures(self, difference: Answer.Difference) -> str:
        mean = difference.mean
        parts = [f"difference {number(mean, sign='+')}{self._share(mean)}"]
        if difference.HasField("interval"):
            interval = difference.interval
            low, high = number(interval.low, sign="+"), number(interval.high, sign="+")
            parts.append(f"{self._answer.level:.0%} interval {low} to {high}")
        # Beside an equivalence, the p of a difference would say nothing of it.
        if difference.HasField("adjusted_p") and difference.verdict != Answer.EQUIVALENT:
            parts.append(f"p {_p(difference.adjusted_p)}")
        return ", ".join(parts)

    def _needed(self, difference: Answer.Difference) -> str:
        answer = self._answer
        if not answer.HasField("margin") or not difference.sd:
            return ""
        size = f"a difference of {number(answer.margin)}{self._share(answer.margin, sign='')}"
        if not difference.HasField("needed"):
            most = "no number of" if answer.overlapping_splits else "not even 100,000"
            return f"; {most} {self._units} would show {size}"
        if difference.needed <= difference.n:
            return f"; these {self._units} would show {size}"
        return f"; about {difference.needed} {self._units} would show {size}"

    def _count(self, number: int) -> str:
        return f"{number} paired {self._units if number != 1 else self._units[:-1]}"

    def _share(self, value: float, *, sign: str = "+") -> str:
        """Return a value relative to the baseline's mean, in brackets."""
        if not self._reference:
            return ""
        return f" ({number(100 * value / abs(self._reference), sign=sign, digits=3)}%)"


def remarks(answer: Answer, names: Sequence[str], *, num_averaged: int) -> list[str]:
    """Return what a reader should know of an answer.

    Args:
        answer: The answer.
        names: Of its groups.
        num_averaged: How many values count as one with another.
    """
    if not any(group.n for group in answer.groups):
        return []
    return [
        *_on_seeds(answer, num_averaged),
        *_on_looks(answer),
        *_on_noise(answer),
        *_on_skewness(answer, names),
        *(_on_inequality(each, names) for each in answer.inequalities),
    ]


def _on_seeds(answer: Answer, num_averaged: int) -> Iterator[str]:
    varied = list(answer.varied)
    if not varied:
        yield "no seeds vary: a group has one value, and nothing shows its noise"
        return
    what = " and ".join(_WHAT_VARIES[path] for path in varied)
    remark = f"the values vary {', '.join(varied)}: {what}"
    if varied[0] in ("preprocessing.seed", "training.seed"):
        remark += "; all are of the same split, and the answer is about this split of the data"
    yield remark
    if answer.overlapping_splits:
        yield (
            "splits share samples and are not independent: intervals and p are of the corrected "
            "resampled t test (Nadeau and Bengio 2003)"
        )
    if num_averaged:
        yield (
            f"{num_averaged} more values have the {_unit(varied)} of another in their group; such "
            "values count as one, their mean"
        )


def _unit(varied: Sequence[str]) -> str:
    """Return what values have in common that count as one."""
    if varied[0].startswith("split."):
        return " and ".join(path for path in varied if path.startswith("split."))
    return varied[0]


def _on_looks(answer: Answer) -> Iterator[str]:
    most = max((group.difference.num_looks for group in answer.groups), default=0)
    if most:
        yield (
            f"seeds were added while the question was open: verdicts are by a group-sequential "
            f"bound (Lan and DeMets 1983) over {most} look{'s' * (most > 1)} at most, so there is "
            "no p, and intervals are not adjusted for the looks"
        )


def _on_noise(answer: Answer) -> Iterator[str]:
    if answer.HasField("noise_floor"):
        yield (
            f"noise floor: {' '.join(answer.baseline)} has an sd of "
            f"{number(answer.noise_floor)} between its own values"
        )


def _on_skewness(answer: Answer, names: Sequence[str]) -> Iterator[str]:
    level = f"{answer.level:.0%}"
    pairs = list(zip(names, answer.groups, strict=True))
    if skewed := [name for name, group in pairs if group.skewed]:
        yield f"values are skewed, and intervals cover less than {level}: {_listed(skewed)}"
    if skewed := [name for name, group in pairs if group.difference.skewed]:
        yield f"differences are skewed, and intervals cover less than {level}: {_listed(skewed)}"


def _on_inequality(inequality: Answer.Inequality, names: Sequence[str]) -> str:
    # By value, so that the odd group among many is named.
    by_value: dict[str, list[str]] = {}
    for name, value in zip(names, inequality.values, strict=True):
        by_value.setdefault(value, []).append(name)
    each = [f"{value} ({_listed(alike)})" for value, alike in by_value.items()]
    more = "; …" if len(each) > _MOST_NAMED else ""
    return f"unequal {inequality.what}: {'; '.join(each[:_MOST_NAMED])}{more}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")


def number(value: float, *, sign: str = "", digits: int = 4) -> str:
    """Write a number for a sentence.

    Args:
        value: The number.
        sign: "+" to write the sign of numbers above 0 too.
        digits: How many digits count.
    """
    # Without an exponent, which is hard to read in a sentence.
    whole = 10**digits <= abs(value) + 0.5 < 1e9
    return f"{value:{sign},.0f}" if whole else f"{value:{sign}.{digits}g}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"
