"""Comparisons that know the way to the points behind their values."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Self

from talweg.client._errors import TalwegError
from talweg.client._values import JobState
from talweg.client.comparisons._groups import ComparisonGroup
from talweg.client.comparisons._table import ComparisonTable
from talweg.v1 import jobs_pb2

Points = list[tuple[int, float]]
"""(step, value) of a metric of one job."""
PointReader = Callable[[str, str], Points]
"""Takes jobs/{id} and a metric; returns its points."""

NUM_READERS: Final = 8
# Of groups more could not be told apart; of jobs each is a call.
_MOST_DRAWN, _MOST_READ = 16, 200


class Comparison(ComparisonTable):
    """Groups of jobs by a metric, the best mean first; `str` returns a plain table."""

    @classmethod
    def of(
        cls,
        response: jobs_pb2.CompareJobsResponse,
        group_by: Sequence[str],
        read_points: PointReader | None = None,
    ) -> Self:
        """Convert the response of a server.

        Args:
            response: The response.
            group_by: The paths that were asked for.
            read_points: Reads the points of a job's metric, which are no part of the value.
        """
        comparison = super().of(response, group_by)
        comparison.__dict__["_read_points"] = read_points
        return comparison

    def __getstate__(self) -> dict[str, object]:
        """Return what a copy in another process needs, which has no connection."""
        return {**self.__dict__, "_read_points": None}

    def series(self, metric: str | None = None) -> list[list[Points]]:
        """Return the recorded points of a metric as (step, value): for each group, for each job.

        Only the jobs that SUCCEEDED count, as in the table. Empty without a connection.

        Args:
            metric: Such as ``val/mae``; that of `curve_metric` if None.

        Raises:
            TalwegError: An error of the server.
        """
        return self._series(metric or self.curve_metric, self.groups)

    def _series(self, metric: str, groups: Sequence[ComparisonGroup]) -> list[list[Points]]:
        read: PointReader | None = self.__dict__.get("_read_points")
        if read is None:
            return [[] for _ in groups]
        with ThreadPoolExecutor(NUM_READERS) as readers:
            reading = [
                [readers.submit(read, job, metric) for job in measured_jobs(group)]
                for group in groups
            ]
            return [[series.result() for series in of_group] for of_group in reading]

    def _repr_html_(self) -> str:
        """Show the table with the notes below it, and the course of each group's mean."""
        table = super()._repr_html_()
        # Without a server, or with a closed client, the table is still right.
        with suppress(TalwegError, ValueError):
            return table + self._curves()
        return table

    def _curves(self) -> str:
        from talweg.client.notebooks import curves, html

        groups = self.groups[:_MOST_DRAWN]
        if sum(group.count for group in groups) > _MOST_READ:
            return ""
        series = self._series(self.curve_metric, groups)
        lines = [
            curves.mean_curve(" · ".join(group.labels), of_group)
            for group, of_group in zip(groups, series, strict=True)
        ]
        drawn = curves.drawn(lines)
        if not drawn:
            return ""
        what = f"{self.curve_metric} by step"
        if any(line.band for line in lines):
            what += ": mean of each group, with a band of one sd on both sides"
        if len(groups) < len(self.groups):
            what += f"; the best {len(groups)} of {len(self.groups)} groups"
        return f"<div><b>{html.text(what)}</b></div>{drawn}"


def measured_jobs(group: ComparisonGroup) -> list[str]:
    """Return the jobs of a group that count: those that SUCCEEDED."""
    return [row.job for row in group.rows if row.state is JobState.SUCCEEDED]
