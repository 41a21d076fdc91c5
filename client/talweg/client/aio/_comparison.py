"""Comparisons that know the way to the points behind their values."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from talweg.client.comparisons._comparison import NUM_READERS, Points, measured_jobs
from talweg.client.comparisons._table import ComparisonTable
from talweg.v1 import jobs_pb2

PointReader = Callable[[str, str], Awaitable[Points]]
"""Takes jobs/{id} and a metric; returns its points."""


class AsyncComparison(ComparisonTable):
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

    async def series(self, metric: str | None = None) -> list[list[Points]]:
        """Return the recorded points of a metric as (step, value): for each group, for each job.

        Only the jobs that SUCCEEDED count, as in the table. Empty without a connection.

        Args:
            metric: Such as ``val/mae``; that of `curve_metric` if None.

        Raises:
            TalwegError: An error of the server.
        """
        import asyncio

        read: PointReader | None = self.__dict__.get("_read_points")
        if read is None:
            return [[] for _ in self.groups]
        readers, name = asyncio.Semaphore(NUM_READERS), metric or self.curve_metric

        async def points_of(job: str) -> Points:
            async with readers:
                return await read(job, name)

        jobs = [measured_jobs(group) for group in self.groups]
        tasks = [asyncio.create_task(points_of(job)) for of_group in jobs for job in of_group]
        try:
            points = iter(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            # Their calls end before this does, and asyncio complains of no error left in one.
            await asyncio.gather(*tasks, return_exceptions=True)
        return [[next(points) for _ in of_group] for of_group in jobs]
