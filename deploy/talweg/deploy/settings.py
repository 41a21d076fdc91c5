"""The settings of the embedded stack from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DEFAULT_DATA = Path(".talweg")


@dataclass(frozen=True)
class Settings:
    """Settings of `talweg up`; it passes other TALWEG_* variables on to its services."""

    data: Path = DEFAULT_DATA
    """TALWEG_DATA: the data folder of the stack. Default: .talweg in the working folder."""
    broker_url: str | None = None
    """TALWEG_BROKER_URL: a running broker; if set, none is started."""
    tracking_uri: str | None = None
    """TALWEG_TRACKING_URI: a running MLflow server; if set, none is started."""
    database_url: str | None = None
    """TALWEG_DATABASE_URL: the database of the record. Default: talweg.db in the data folder."""
    blobs: str | None = None
    """TALWEG_BLOBS: the store for checkpoints. Default: blobs in the data folder."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read the settings; an empty variable counts as not set."""
        return cls(
            data=Path(env.get("TALWEG_DATA") or DEFAULT_DATA),
            broker_url=env.get("TALWEG_BROKER_URL") or None,
            tracking_uri=env.get("TALWEG_TRACKING_URI") or None,
            database_url=env.get("TALWEG_DATABASE_URL") or None,
            blobs=env.get("TALWEG_BLOBS") or None,
        )
