"""How far a job's delivery has come, kept beside its spool.

The file is replaced after every step that MLflow has taken. Killed between the two, the delivery
takes that step again, which changes nothing: the points carry their first times, and MLflow
stores the same point once.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from talweg.spec import drop_control
from talweg.worker.tracking.errors import NothingDoneError, RefusedError, RunGoneError
from talweg.worker.tracking.outputs.labels import cut
from talweg.worker.tracking.spool import write_json

FILE = "delivery.json"
_FORMAT = 1
# For people; the record takes some thousand bytes of all kinds together.
_REASON_LENGTH = 120


@dataclass
class DeliveryState:
    """What has been done for one job."""

    run_id: str = ""
    """The run in MLflow; empty until the server's record holds it."""
    experiment_id: str = ""
    """The run's experiment."""
    creating: bool = False
    """A run may have been made whose id is not known here yet."""
    creating_model: bool = False
    """A logged model may have been made whose id is not known here yet."""
    unanswered: int = 0
    """How many runs and logged models may have been made, or be made yet, that nobody needs."""
    unanswered_ms: int = 0
    """When MLflow last answered after it had left a creation unanswered."""
    replaces: str = ""
    """The run that the record holds and that is gone from MLflow."""
    offsets: dict[str, int] = field(default_factory=dict)
    """By attempt: how much of its lines has been sent, in bytes."""
    high_water: dict[str, int] = field(default_factory=dict)
    """By metric: the highest step sent."""
    tags: dict[str, str] = field(default_factory=dict)
    """The tags sent, by name."""
    done: list[str] = field(default_factory=list)
    """What is done once a run and has been: params, computed, job file, data, plots, model,
    artifacts."""
    waiting_since: dict[str, int] = field(default_factory=dict)
    """By attempt in another spool: since when it alone is missing."""
    model_id: str = ""
    """The logged model in MLflow; empty until one was begun."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What will not arrive, such as "model", with the reason."""

    def leave_out(self, what: str, error: Exception) -> None:
        """Note that something of a kind will not arrive; the last reason stands for all."""
        self.left_out[what] = cut(" ".join(drop_control(str(error)).split()), _REASON_LENGTH)

    @contextmanager
    def leaving_out(self, what: str) -> Iterator[None]:
        """Go on without what MLflow refuses in the block, and note that."""
        try:
            yield
        except RefusedError as exc:
            self.leave_out(what, exc)

    @property
    def left_out_text(self) -> str:
        """What will not arrive, in one line; empty for nothing."""
        return "; ".join(f"{what}: {why}" for what, why in self.left_out.items())

    @contextmanager
    def asking(
        self, flag: Literal["creating", "creating_model"], save: Callable[[], None]
    ) -> Iterator[None]:
        """Note a request that makes something, from before it is sent until it is answered.

        Args:
            flag: The field that says so. It stays set until the id is written down.
            save: Writes this state down.
        """
        setattr(self, flag, True)
        self.unanswered += 1
        save()
        try:
            yield
        except (NothingDoneError, RefusedError, RunGoneError):
            setattr(self, flag, False)
            self.unanswered -= 1
            raise
        self.unanswered -= 1

    @classmethod
    def load(cls, job_folder: Path) -> "DeliveryState | None":
        """Read it; None where there is none that can be understood."""
        try:
            content = json.loads((job_folder / FILE).read_text())
            if content.pop("format") != _FORMAT:
                return None
            return cls(**content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def save(self, job_folder: Path) -> None:
        """Replace the file."""
        write_json(job_folder / FILE, {"format": _FORMAT, **vars(self)})
