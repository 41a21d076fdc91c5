"""The process that searches for settings."""

from talweg.server.concurrency.helper_process import HelperProcess


class SearchProcess(HelperProcess):
    """Answers questions as talweg.search reads them."""

    def __init__(self) -> None:
        """Start nothing yet."""
        super().__init__("talweg.search", "the search for settings of a sweep")
