"""What goes wrong between the delivery and MLflow: TrackingError and its kinds.

They stand in the tree of `talweg.worker.errors`.
"""

import re

from talweg.worker.errors import WorkerError

_CREDENTIALS = re.compile(r"//[^/@\s]*@")


class TrackingError(WorkerError):
    """MLflow has not done what it was asked to."""

    def __init__(self, message: str) -> None:
        """Keep the message, without the user and password of an address in it."""
        super().__init__(_CREDENTIALS.sub("//", message))


class TrackingAwayError(TrackingError):
    """Nobody answered, or the server refuses everybody: keep what is to be sent, and wait."""


class TrackingBusyError(TrackingError):
    """The server failed at this call: keep what is to be sent, and try others meanwhile."""


class RunGoneError(TrackingError):
    """The run does not exist, or somebody deleted it."""


class RefusedError(TrackingError):
    """This call will never succeed as it is."""
