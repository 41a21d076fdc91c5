"""What goes wrong between the delivery and MLflow: TrackingError and its kinds.

They stand in the tree of `talweg.worker.errors`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from mlflow.exceptions import MlflowException, RestException

from talweg.worker.errors import WorkerError

# As MLflow's client says that there was no JSON in an answer of such a status.
_NO_SUCH_CALL = re.compile(r"API request to endpoint \S+ failed with error code (404|405|501) ")
_GONE = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
_REFUSED = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "NOT_IMPLEMENTED"}
_FORBIDDEN = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
_REFUSED_STATUSES = {400, 404, 405, 413, 422}
# MLflow answers all but one of SQLAlchemy's errors as bad requests: also that the database's
# connections are used up or were closed. They end with a link to their kind, by which only a wrong
# value and a broken constraint are of what was sent.
_OF_DATABASE = re.compile(r"https://sqlalche\.me/e/\d+/(\w+)\)$")
_OF_WHAT_WAS_SENT = {"9h9h", "gkpj"}
_CREDENTIALS = re.compile(r"//[^/@\s]*@")


class TrackingError(WorkerError):
    """MLflow has not done what it was asked to."""

    def __init__(self, message: str) -> None:
        """Keep the message, without the user and password of an address in it."""
        super().__init__(_CREDENTIALS.sub("//", message))


class TrackingAwayError(TrackingError):
    """Nobody answered, or the server refuses everybody: keep what is to be sent, and wait."""


class NothingDoneError(TrackingAwayError):
    """Nobody answered, and nothing of the call can have happened, or happen yet."""


class NoSuchCallError(NothingDoneError):
    """Whoever answered does not know the call: an earlier MLflow, or what stands before it."""


class TrackingBusyError(TrackingError):
    """The server failed at this call: keep what is to be sent, and try others meanwhile."""


class RunGoneError(TrackingError):
    """The run does not exist, or somebody deleted it."""


class RunDeletedError(RunGoneError):
    """Somebody deleted the run; it is not that MLflow has lost it."""


class RefusedError(TrackingError):
    """This call will never succeed as it is."""


class UnknownCallError(RefusedError):
    """This MLflow does not know the call, and answers others."""


def answered(error: MlflowException) -> TrackingError:
    """Return what an answer of MLflow means, by its code."""
    message, code = str(error), error.error_code
    if code == "INVALID_PARAMETER_VALUE" and "'active' state" in message:
        # So MLflow calls it to write to a run that somebody deleted.
        return RunGoneError(message)
    if code in _GONE:
        return RunGoneError(message)
    if code in _REFUSED and not (code == "BAD_REQUEST" and _is_of_database(message)):
        return RefusedError(message)
    if code in _FORBIDDEN:
        return TrackingAwayError(message)
    if code == "ENDPOINT_NOT_FOUND":
        return NoSuchCallError(message)
    return TrackingBusyError(message)


def _is_of_database(message: str) -> bool:
    """Return whether MLflow's database failed, and not at what was sent."""
    found = _OF_DATABASE.search(message)
    return found is not None and found[1] not in _OF_WHAT_WAS_SENT


@contextmanager
def translated() -> Iterator[None]:
    """Turn what MLflow's client raises into a TrackingError."""
    try:
        yield
    except RestException as exc:
        raise answered(exc) from exc
    except requests.HTTPError as exc:
        if exc.response is not None and exc.response.status_code in _REFUSED_STATUSES:
            raise RefusedError(str(exc)) from exc
        raise TrackingBusyError(str(exc)) from exc
    except MlflowException as exc:
        if str(exc).startswith("The following failures occurred while uploading"):
            raise TrackingBusyError(str(exc)) from exc
        # What the client found wrong itself, before it asked anybody, is wrong for good.
        if not str(exc).startswith("API request to"):
            raise RefusedError(str(exc)) from exc
        if _NO_SUCH_CALL.match(str(exc)):
            raise NoSuchCallError(str(exc)) from exc
        raise TrackingAwayError(str(exc)) from exc
    except (requests.RequestException, ConnectionError, TimeoutError) as exc:
        raise TrackingAwayError(str(exc)) from exc


@contextmanager
def uploading() -> Iterator[None]:
    """Turn what the upload of a file raises into a TrackingError.

    What an artifact store's own client raises, such as boto's, does not say that the file can
    never be stored. A missing module or file does, and is raised as it is.
    """
    try:
        with translated():
            yield
    except (TrackingError, ImportError, FileNotFoundError):
        raise
    except Exception as exc:
        raise TrackingBusyError(repr(exc)) from exc
