"""What the embedded stack reads from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DEFAULT_DATA = Path(".talweg")


@dataclass(frozen=True)
class Settings:
    """Settings of `talweg up`; it hands every other TALWEG_* variable on to its services."""

    data: Path = DEFAULT_DATA
    """TALWEG_DATA: the data folder of the stack; .talweg in the working folder where not set."""
    broker_url: str | None = None
    """TALWEG_BROKER_URL: a broker that runs already; where set, none is started."""
    tracking_uri: str | None = None
    """TALWEG_TRACKING_URI: an MLflow server that runs already; where set, none is started."""
    database_url: str | None = None
    """TALWEG_DATABASE_URL: the record's database; talweg.db in the data folder where not set."""
    blobs: str | None = None
    """TALWEG_BLOBS: where checkpoints are kept; blobs in the data folder where not set."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read the settings; a variable that is set to nothing counts as not set."""
        return cls(
            data=Path(env.get("TALWEG_DATA") or DEFAULT_DATA),
            broker_url=env.get("TALWEG_BROKER_URL") or None,
            tracking_uri=env.get("TALWEG_TRACKING_URI") or None,
            database_url=env.get("TALWEG_DATABASE_URL") or None,
            blobs=env.get("TALWEG_BLOBS") or None,
        )
