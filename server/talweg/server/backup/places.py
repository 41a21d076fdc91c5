"""Where a server keeps what a backup must hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from talweg.server.errors import BadSetting
from talweg.server.settings import Settings
from talweg.spec.local import data_folder

_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Places:
    """Where a server keeps what a backup must hold."""

    database_url: str
    """The record."""

    blobs: str
    """The blob store: a folder or a URL."""

    token_key: Path
    """The key of the record's hashes of tokens."""

    folders: Mapping[str, Path] = field(default_factory=dict)
    """Folders beside them, by name, in the order in which they are to be copied."""

    secrets: Mapping[str, Path] = field(default_factory=dict)
    """Further files with secrets, by name."""

    @property
    def blob_folder(self) -> Path | None:
        """The blob store's folder; None where it is no folder of this machine."""
        url = self.blobs.removeprefix("file://")
        return None if "://" in url else Path(url)

    @property
    def record_file(self) -> Path | None:
        """The record's file; None where a database server holds it."""
        url = self.database_url
        return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None

    @property
    def all_secrets(self) -> Mapping[str, Path]:
        """All files with secrets, by their names in a backup."""
        return {data_folder.TOKEN_KEY: self.token_key, **self.secrets}


def of_stack(data: Path, env: Mapping[str, str]) -> Places:
    """Return the places of the stack of a data folder.

    Args:
        data: The folder.
        env: The environment, in which record and blobs may be elsewhere, as for `talweg up`.
    """
    data = data.absolute()
    # Results that wait for delivery are copied before those that have arrived, so that none is
    # missed between.
    folders = (data_folder.SPOOL, data_folder.TRACKING)
    return Places(
        env.get("TALWEG_DATABASE_URL") or f"{_SQLITE}{data / data_folder.RECORD}",
        env.get("TALWEG_BLOBS") or str(data / data_folder.BLOBS),
        data / data_folder.TOKEN_KEY,
        {name: data / name for name in folders},
        {name: data / name for name in (data_folder.ADMIN_TOKEN, data_folder.WORKER_TOKEN)},
    )


def of_settings(settings: Settings) -> Places:
    """Return the places of a server that is configured by its variables."""
    return Places(settings.database_url, settings.blobs, settings.token_key_file.absolute())


def find_places(data: Path | None, env: Mapping[str, str]) -> Places:
    """Return the places that a command is about.

    Args:
        data: A stack's data folder, if it was given.
        env: The environment: TALWEG_DATA, else TALWEG_DATABASE_URL, else the stack of .talweg.

    Raises:
        BadSetting: A variable cannot be used.
    """
    if data is None and env.get("TALWEG_DATA"):
        data = Path(env["TALWEG_DATA"])
    if data is None and env.get("TALWEG_DATABASE_URL"):
        # Neither tokens nor TLS matter here.
        return of_settings(Settings.from_env({**env, "TALWEG_INSECURE": "1"}))
    return of_stack(data or Path(".talweg"), env)


def check_record(places: Places) -> None:
    """Check that there is a record, which opening it would make.

    Raises:
        BadSetting: There is none.
    """
    file = places.record_file
    if file is not None and not file.exists():
        raise BadSetting(
            f"there is no record at {file}: name the data folder of a stack by --data, or the "
            "record of a server by TALWEG_DATABASE_URL"
        )
