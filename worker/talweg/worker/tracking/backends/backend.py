"""The ways to MLflow: through its server, or beside it (`local.py`)."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from talweg.worker.tracking.errors import (
    NoSuchCallError,
    UnknownCallError,
    translated,
    uploading,
)

T = TypeVar("T")
Ask = Callable[[Callable[[MlflowClient], T]], T]
"""`Backend.ask`."""

log = logging.getLogger(__name__)


class Backend(Protocol):
    """What takes calls and files for MLflow. Usable from several threads.

    Every method either has done what it says when it returns, or raises a TrackingError.
    """

    @property
    def num_at_once(self) -> int:
        """How many calls are worth having on their way at once."""

    def ask(self, ask: Callable[[MlflowClient], T]) -> T:
        """Return what a client of MLflow answers.

        Args:
            ask: Calls the client that it is given.
        """

    def made(self, run: Run) -> None:
        """Take note of a run that was just made, so that nobody need be asked about it."""

    def log_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        """Store a file in a folder of the run's files."""

    def log_files(self, run_id: str, folder: Path) -> None:
        """Store a folder's content among the run's files."""

    def remove_files(self, uri: str) -> None:
        """Remove all files of a run or a logged model, where its store can; none is no error.

        Args:
            uri: Where MLflow says that they are.
        """


def ask_newer(ask: "Ask[Any]", call: Callable[[MlflowClient], T]) -> T:
    """Ask for what earlier versions of MLflow's server do not know, and a run can do without.

    Args:
        ask: `Backend.ask`.
        call: Calls the client that it is given.

    Raises:
        UnknownCallError: The server is there, and does not know the call.
        TrackingError: As `ask` raises it; also where whoever answers knows no call at all.
    """
    try:
        return cast("T", ask(call))
    except NoSuchCallError:
        # A gateway answers like this too, as long as MLflow is not behind it.
        ask(lambda client: client.search_experiments(max_results=1))
    try:
        return cast("T", ask(call))
    except NoSuchCallError as exc:
        raise UnknownCallError(f"this version of MLflow does not know it: {exc}") from exc


class HttpBackend:
    """An MLflow server, wherever it is."""

    # MLflow's server answers one call at a time, more or less: one is read here while it writes
    # another.
    num_at_once = 2

    def __init__(self, tracking_uri: str) -> None:
        """Keep the address; nothing is sent.

        Args:
            tracking_uri: The server's URL.
        """
        self._uri = tracking_uri
        self._client = MlflowClient(tracking_uri)

    def ask(self, ask: Callable[[MlflowClient], T]) -> T:
        """Ask the server."""
        with translated():
            return ask(self._client)

    def made(self, run: Run) -> None:
        """Need not know."""

    def log_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        """Upload a file."""
        with uploading():
            self._client.log_artifact(run_id, str(file), folder)

    def log_files(self, run_id: str, folder: Path) -> None:
        """Upload a folder's content."""
        with uploading():
            self._client.log_artifacts(run_id, str(folder))

    def remove_files(self, uri: str) -> None:
        """Have the server remove files; a store that removes none keeps them."""
        try:
            files = get_artifact_repository(uri, tracking_uri=self._uri)
            files.delete_artifacts()  # type: ignore[no-untyped-call]
        except (MlflowException, NotImplementedError, OSError) as exc:
            log.info("the files at %s stay until `mlflow gc`: %s", uri, exc)
