"""Where a server keeps what a backup must hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from talweg.server.errors import BadSetting
from talweg.server.settings import Settings
from talweg.spec.secrets import ADMIN_TOKEN_FILE, WORKER_TOKEN_FILE

# Of a stack's data folder, in the order in which they are copied: results that wait for delivery
# before those that have arrived, so that none is missed between.
_OF_STACK = ("spool", "mlflow")
_FILES_OF_STACK = (ADMIN_TOKEN_FILE, WORKER_TOKEN_FILE)
RECORD = "talweg.db"


@dataclass(frozen=True)
class Places:
    """Where a server keeps what a backup must hold."""

    database_url: str
    """The record."""

    blobs: str
    """The blob store: a folder or a URL."""

    token_key: Path
    """The key of the record's hashes of tokens."""

    folders: Mapping[str, Path]
    """Folders beside them, by name, in the order in which they are to be copied."""

    files: Mapping[str, Path]
    """Files beside them, by name."""

    @property
    def blob_folder(self) -> Path | None:
        """The blob store's folder; None where it is no folder of this machine."""
        url = self.blobs.removeprefix("file://")
        return None if "://" in url else Path(url)


def of_stack(data: Path) -> Places:
    """Return the places of the stack of a data folder.

    Args:
        data: The folder.
    """
    data = data.absolute()
    return Places(
        f"sqlite:///{data / RECORD}",
        str(data / "blobs"),
        data / "token-key",
        {name: data / name for name in _OF_STACK},
        {name: data / name for name in _FILES_OF_STACK},
    )


def of_settings(settings: Settings) -> Places:
    """Return the places of a server that is configured by its variables."""
    return Places(
        settings.database_url,
        settings.blobs,
        settings.token_key_file.absolute(),
        {},
        {},
    )


def places(data: Path | None, env: Mapping[str, str]) -> Places:
    """Return the places that a command is about.

    Args:
        data: A stack's data folder, if it was given.
        env: The environment: TALWEG_DATABASE_URL, else TALWEG_DATA, else .talweg.

    Raises:
        BadSetting: A variable cannot be used.
    """
    if data is not None:
        return of_stack(data)
    if env.get("TALWEG_DATABASE_URL"):
        # Neither tokens nor TLS matter here.
        return of_settings(Settings.from_env({**env, "TALWEG_INSECURE": "1"}))
    folder = Path(env.get("TALWEG_DATA") or ".talweg")
    if not folder.exists():
        raise BadSetting(
            f"there is no {folder}: name the data folder of a stack by --data, or the record of a "
            "server by TALWEG_DATABASE_URL"
        )
    return of_stack(folder)
