"""The process that computes the statistics of comparisons."""

from talweg.server.concurrency.helper_process import HelperProcess


class StatisticsProcess(HelperProcess):
    """Answers questions as talweg.statistics reads them."""

    def __init__(self) -> None:
        """Start nothing yet."""
        super().__init__("talweg.statistics", "the statistics of a comparison")
