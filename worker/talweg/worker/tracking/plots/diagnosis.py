"""What a diagnosis's pictures are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks.common.plots.canvas import title


@dataclass(frozen=True)
class Diagnosis:
    """A diagnosis's table."""

    name: str
    """The diagnosis's."""
    columns: Mapping[str, Sequence[Any]]
    """Its table."""
    facts: Mapping[str, Any]
    """What holds for all of it."""
    spec: JobSpec
    """The job, filled."""
    folder: Path
    """Where the pictures go."""

    @property
    def title(self) -> str:
        """What was trained."""
        return title(self.spec)

    def picture(self, of: str = "") -> Path:
        """Return where a picture goes: the diagnosis's own, or one that shows more of it."""
        return self.folder / (f"{self.name}_{of}.png" if of else f"{self.name}.png")
