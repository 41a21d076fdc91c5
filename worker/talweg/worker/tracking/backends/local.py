"""The way to an MLflow on this machine beside its server: to its database and files."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from talweg.worker.tracking.backends.backend import HttpBackend
from talweg.worker.tracking.backends.database import Database
from talweg.worker.tracking.errors import uploading

_MOST_URIS = 1000

T = TypeVar("T")


class LocalBackend:
    """The database and the files of an MLflow on this machine, as its server would write them."""

    # As many commits as may share one wait for the disk.
    num_at_once = 16

    def __init__(self, database: Path, artifacts: Path, *, server: HttpBackend) -> None:
        """Open nothing yet.

        Args:
            database: Its SQLite file.
            artifacts: The folder that it serves files from.
            server: The same MLflow, for files that it keeps elsewhere.
        """
        self._database = Database(database)
        self._artifacts = artifacts
        self._server = server
        self._uris: dict[str, str] = {}

    def ask(self, ask: Callable[[MlflowClient], T]) -> T:
        """Ask the database."""
        return self._database.ask(ask)

    def made(self, run: Run) -> None:
        """Keep where its files are."""
        if len(self._uris) >= _MOST_URIS:
            self._uris.clear()
        self._uris[run.info.run_id] = run.info.artifact_uri

    def log_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        """Copy a file to where the server looks for it."""
        files = self._folder(run_id)
        if files is None:
            return self._server.log_file(run_id, file, folder)
        with uploading():
            files.log_artifact(str(file), folder)  # type: ignore[no-untyped-call]

    def log_files(self, run_id: str, folder: Path) -> None:
        """Copy a folder's content to where the server looks for it."""
        files = self._folder(run_id)
        if files is None:
            return self._server.log_files(run_id, folder)
        with uploading():
            files.log_artifacts(str(folder))  # type: ignore[no-untyped-call]

    def _folder(self, run_id: str) -> LocalArtifactRepository | None:
        """Return a run's files; None where the server does not keep them in its own folder."""
        known = self._uris.get(run_id)
        if known is None:
            self.made(run := self.ask(lambda client: client.get_run(run_id)))
            known = run.info.artifact_uri
        folder = self._path(known)
        return None if folder is None else LocalArtifactRepository(str(folder))

    def _path(self, address: str) -> Path | None:
        """Return the folder of files; None where the server keeps them elsewhere."""
        uri = urlsplit(address)
        parts = [part for part in uri.path.split("/") if part]
        if uri.scheme != "mlflow-artifacts" or uri.netloc or ".." in parts or not parts:
            return None
        return self._artifacts.joinpath(*parts)

    def remove_files(self, uri: str) -> None:
        """Remove files from where the server keeps them."""
        folder = self._path(uri)
        if folder is None:
            return self._server.remove_files(uri)
        shutil.rmtree(folder, ignore_errors=True)
