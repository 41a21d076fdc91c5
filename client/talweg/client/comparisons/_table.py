"""Comparisons of jobs as values: groups, notes and a table of text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from talweg.client._values import JobState, pandas
from talweg.client.comparisons._answer import Answer
from talweg.client.comparisons._groups import ComparisonGroup, Goal, Reference
from talweg.v1 import jobs_pb2

if TYPE_CHECKING:
    from pandas import DataFrame

_MOST_NAMED = 5


_TRIVIAL = "trivial"
_PREDICTORS = {
    _TRIVIAL: "trivial predictor",
    "gradient_boosting": "gradient boosting (scikit-learn)",
    "linear": "linear model (scikit-learn)",
}


@dataclass(frozen=True)
class ComparisonTable:
    """Groups of jobs by a metric, the best mean first; `str` returns a plain table."""

    metric: str
    """Such as ``test/mae``."""
    goal: Goal
    """Whether lower or higher is better."""
    group_by: tuple[str, ...]
    """Paths in the spec, such as ``loss``."""
    groups: tuple[ComparisonGroup, ...]
    """The groups, the best first, those without a value last."""
    references: tuple[Reference, ...] = ()
    """What other predictors reach on the same test data, the best first."""
    answer: Answer | None = None
    """Intervals and verdicts; None unless they were asked for."""
    unequal: tuple[str, ...] = ()
    """Of task and dataset, which differ between the groups and are not what they group by."""

    @property
    def title(self) -> str:
        """The metric, its goal, the grouping and the baseline, as text."""
        title = f"{self.metric or 'no metric'} ({self.goal.words}), by {', '.join(self.group_by)}"
        baseline = self.answer.baseline if self.answer is not None else ()
        return f"{title}, against {' '.join(baseline)}" if baseline else title

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The verdicts in words, one per group but the baseline; empty without one."""
        return self.answer.verdicts if self.answer is not None else ()

    def __str__(self) -> str:
        """Render a plain table with the verdicts above and the notes below it."""
        return "\n".join([self.title, *self.verdicts, *self.plain_lines, *self.notes])

    @property
    def plain_lines(self) -> list[str]:
        """The lines of the plain table alone, the header first."""
        header, *lines = self.table()
        widths = [max(len(row[index]) for row in (header, *lines)) for index in range(len(header))]
        num_labels = len(self.group_by)
        rendered = []
        for row in (header, *lines):
            cells = [
                cell.ljust(width) if index < num_labels else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            rendered.append("  ".join(cells).rstrip())
        return rendered

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes: what mean and sd are over, and which values stand out."""
        varies = list(dict.fromkeys(path for group in self.groups for path in group.varies))
        # What already differs within a group need not be said of the groups as well.
        within = {path.partition(".")[0] for path in varies}
        unequal = [part for part in self.unequal if part not in within]
        repeats = sum(group.repeats for group in self.groups)
        notes = []
        if varies:
            notes.append(
                "mean and sd are not only over seeds: jobs of one group differ in "
                f"{_named(varies)}; group by it too, or compare fewer jobs"
            )
        if repeats:
            notes.append(
                f"{repeats} of the values repeat a spec and seed: they reduce the sd without "
                "adding information"
            )
        if self.answer is not None:
            notes += self.answer.remarks
        elif unequal:
            notes.append(
                f"the groups differ in {' and '.join(unequal)} too: what is reached on one "
                "says nothing of another; group by it too, or compare fewer jobs"
            )
        return (*notes, *self._notes_on_rows(), *self._notes_on_references())

    def _notes_on_references(self) -> Iterator[str]:
        """Name what others reach, and say where scikit-learn beats every group."""
        if not self.references:
            return
        others = [f"{_PREDICTORS.get(r.name, r.name)} {r.mean:#.5g}" for r in self.references]
        yield f"on the same test data: {', '.join(others)}"
        best, first = self.references[0], self.groups[0].mean if self.groups else None
        if first is None or best.name == _TRIVIAL:
            return
        wins = best.mean > first if self.goal is Goal.MAXIMIZE else best.mean < first
        if wins:
            label = " ".join(self.groups[0].labels)
            name = _PREDICTORS.get(best.name, best.name)
            yield f"{name} is better than the best group, {label} ({first:#.5g})"

    def _notes_on_rows(self) -> Iterator[str]:
        rows = [row for group in self.groups for row in group.rows]
        states: Counter[JobState] = Counter()
        for group in self.groups:
            states.update(group.states)
        apart = [f"{n} {state}" for state, n in states.items() if state != JobState.SUCCEEDED]
        if apart:
            yield f"only SUCCEEDED jobs count; left out: {', '.join(apart)}"
        if earlier := sum(row.best_weights for row in rows):
            yield (
                f"{self.metric} is that of the weights kept: for {earlier} of {len(rows)} jobs "
                "that of the best evaluation and not the last"
            )
        if worse := [row.job for row in rows if row.worse_than_trivial]:
            yield f"far worse than the trivial predictor: {_named(worse)}"
        if outliers := [row.job for row in rows if row.outlier]:
            yield f"outliers, which the median bears and the mean does not: {_named(outliers)}"

    @property
    def curve_metric(self) -> str:
        """The metric whose course says most of the compared one: val/mae for test/mae."""
        part, _, name = self.metric.partition("/")
        return f"val/{name}" if part in ("test", "trivial") else self.metric

    def to_pandas(self) -> "DataFrame":
        """Return the jobs as a data frame: a row a job, with its group, value, seed and marks.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = [
            {
                **dict(zip(self.group_by, group.labels, strict=True)),
                "job": row.job,
                "state": str(row.state),
                "seed": row.seed,
                self.metric: row.value,
                "step": row.step,
                "best_weights": row.best_weights,
                "worse_than_trivial": row.worse_than_trivial,
                "outlier": row.outlier,
            }
            for group in self.groups
            for row in group.rows
        ]
        frame: DataFrame = pandas().DataFrame(rows)
        return frame

    def _repr_html_(self) -> str:
        """Show the table with the verdicts above and the notes below it."""
        from talweg.client.notebooks import html

        header, *rows = self.table()
        notes = "".join(f"<div><small>{html.text(note)}</small></div>" for note in self.notes)
        verdicts = "".join(f"<div>{html.text(verdict)}</div>" for verdict in self.verdicts)
        title = f"<div><b>{html.text(self.title)}</b></div>"
        return f"{title}{verdicts}{html.table(header, rows)}{notes}"

    def table(self) -> list[list[str]]:
        """Return the cells of a table, the header first."""
        if self.answer is not None:
            return self._answer_table(self.answer)
        rows = [[*self.group_by, "mean ± sd", "median (IQR)", "n", "min", "max", "succeeded"]]
        digits = _digits([group.mean for group in self.groups])
        for group in self.groups:
            mean, median = _number(group.mean, digits), _number(group.median, digits)
            rows.append(
                [
                    *group.labels,
                    mean if group.sd is None else f"{mean} ± {_number(group.sd, digits)}",
                    median if group.iqr is None else f"{median} ({_number(group.iqr, digits)})",
                    str(group.count),
                    _number(group.min, digits),
                    _number(group.max, digits),
                    f"{group.succeeded}/{group.total}",
                ]
            )
        return rows

    def _answer_table(self, answer: Answer) -> list[list[str]]:
        header = [*self.group_by, "n", "mean ± sd", f"{answer.level:.0%} interval"]
        if answer.baseline:
            header += ["difference", "p"]
        rows = [header]
        digits = _digits([group.mean for group in answer.groups])
        for group in answer.groups:
            mean, ends, difference = _number(group.mean, digits), group.interval, group.difference
            cells = [
                *group.labels,
                str(group.n),
                mean if group.sd is None else f"{mean} ± {_number(group.sd, digits)}",
                f"{_number(ends.low, digits)} to {_number(ends.high, digits)}" if ends else "–",
            ]
            if answer.baseline and difference is None:
                cells += ["baseline", ""]
            elif difference is not None:
                p = difference.adjusted_p
                # By its own size: it may be far less than the means.
                cells += [_number(difference.mean, None), "–" if p is None else f"{p:.2g}"]
            rows.append(cells)
        return rows

    @classmethod
    def of(cls, response: jobs_pb2.CompareJobsResponse, group_by: Sequence[str]) -> Self:
        """Convert the response of a server.

        Args:
            response: The response.
            group_by: The paths that were asked for.
        """
        groups = tuple(ComparisonGroup.of(group) for group in response.groups)
        answer = None
        if response.HasField("answer"):
            answer = Answer.of(response.answer, [group.labels for group in groups])
        return cls(
            metric=response.metric,
            goal=Goal.of(response.goal),
            group_by=tuple(group_by),
            groups=groups,
            answer=answer,
            unequal=tuple(response.unequal),
            references=tuple(
                Reference(each.name, each.mean, each.count) for each in response.references
            ),
        )


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")


def _digits(values: Iterable[float | None]) -> int | None:
    """Return the decimals that show four digits of the largest value; None if it is extreme."""
    sizes = [abs(value) for value in values if value]
    if not sizes or not 1e-3 <= max(sizes) < 1e6:
        return None
    largest = max(sizes)
    return next((digits for digits in range(3) if largest >= 10 ** (3 - digits)), 4)


def _number(value: float | None, digits: int | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if digits is None else f"{value:.{digits}f}"
