# Made by client/make_asyncio.py from ../../sweeps/_answer.py: change that module.
"""Answers of sweeps: what their trials have shown, and how sure that is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from talweg.client._values import pandas
from talweg.client.aio._comparison import AsyncComparison
from talweg.client.sessions._values import ProposalAnswer
from talweg.client.sweeps._tables import plain_table, trial_table
from talweg.client.sweeps._values import Trial

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class AsyncSweepAnswer:
    """What a sweep has shown; `str` returns the text, a table and the remarks."""

    text: str
    """The answer in words: one paragraph."""
    comparison: AsyncComparison | None
    """The compared values over fresh seeds; None without `compare`, and until there are such."""
    chosen: tuple[Trial, ...]
    """The best trial of the search; where values are compared, that of each."""
    remarks: tuple[str, ...]
    """What a reader should know, such as the jobs that diverged."""
    is_provisional: bool
    """Not all that it rests on has ended: it may change."""
    metric: str
    """The objective, of which the trials' values are means."""
    session_answers: tuple[ProposalAnswer, ...] = ()
    """Of a sweep in a session: what was decided under its budget, in place of verdicts."""

    def to_pandas(self) -> "DataFrame":
        """Return a row per compared value with its statistics, or else per chosen trial.

        Raises:
            ImportError: pandas is not installed.
        """
        if self.comparison is not None:
            answer = self.comparison.answer
            return self.comparison.to_pandas() if answer is None else answer.to_pandas()
        rows = [
            {
                "trial": trial.number,
                **trial.setting,
                self.metric: trial.value,
                "sd": trial.sd,
                "n": trial.count,
                "state": str(trial.state),
            }
            for trial in self.chosen
        ]
        frame: DataFrame = pandas().DataFrame(rows)
        return frame

    def __str__(self) -> str:
        """Render the text, a plain table and the remarks."""
        lines = [self._head]
        notes = [*self.remarks]
        if self.comparison is not None:
            # The text has its verdicts.
            lines += [self.comparison.title, *self.comparison.plain_lines]
            notes += self.comparison.notes
        if self.chosen:
            lines += plain_table(trial_table(self.metric, self.chosen))
        return "\n".join([*lines, *notes])

    def _repr_html_(self) -> str:
        """Show the text, a table and the remarks."""
        from talweg.client.notebooks import html

        compared = "" if self.comparison is None else self.comparison._repr_html_()
        chosen = ""
        if self.chosen:
            header, *rows = trial_table(self.metric, self.chosen)
            chosen = html.table(header, rows)
        remarks = "".join(f"<div><small>{html.text(each)}</small></div>" for each in self.remarks)
        return f"<p>{html.text(self._head)}</p>{compared}{chosen}{remarks}"

    @property
    def _head(self) -> str:
        return f"Provisional: {self.text}" if self.is_provisional else self.text
