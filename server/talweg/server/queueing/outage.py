"""Tells of an outage once, and of its end, however often what is out of order is tried."""

import logging


class Outage:
    """Whether something that is tried again and again works now."""

    def __init__(self, logger: logging.Logger, fails: str, works: str) -> None:
        """Begin without a failure.

        Args:
            logger: Where it is told.
            fails: What to say when it begins to fail; the error follows.
            works: What to say when it works again.
        """
        self._log = logger
        self._fails = fails
        self._works = works
        self.num_failures = 0
        """In a row, up to now."""

    def failed(self, error: Exception) -> None:
        """Note a failure.

        Args:
            error: Why.
        """
        self.num_failures += 1
        if self.num_failures == 1:
            self._log.warning("%s: %s", self._fails, error)

    def passed(self) -> None:
        """Note a success."""
        if self.num_failures:
            self._log.info("%s", self._works)
        self.num_failures = 0
