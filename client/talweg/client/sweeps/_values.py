"""States and trials of sweeps as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from talweg.spec.sweeps import setting_text
from talweg.spec.sweeps.space import plain
from talweg.v1 import sweeps_pb2


class SweepState(StrEnum):
    """The state of a sweep; equal to its name, such as ``"RUNNING"``."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether the sweep has ended; it may be continued all the same."""
        return self not in (SweepState.RUNNING, SweepState.PAUSED)

    @classmethod
    def of(cls, number: int) -> "SweepState":
        """Convert the state of a message.

        Raises:
            ValueError: This client does not know it.
        """
        name = _SWEEP_STATES.get(number, "")
        if name not in cls.__members__:
            raise ValueError(
                f"sweep state must be one of {', '.join(cls)}, but got number {number}:"
                " the server may be newer than this client"
            )
        return cls[name]


class TrialState(StrEnum):
    """The state of a trial; equal to its name, such as ``"RUNNING"``."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    DIVERGED = "DIVERGED"
    CANCELLED = "CANCELLED"
    PRUNED = "PRUNED"

    @property
    def is_final(self) -> bool:
        """Whether all of its jobs have ended."""
        return self is not TrialState.RUNNING

    @classmethod
    def of(cls, number: int) -> "TrialState":
        """Convert the state of a message.

        Raises:
            ValueError: This client does not know it.
        """
        name = _TRIAL_STATES.get(number, "")
        if name not in cls.__members__:
            raise ValueError(
                f"trial state must be one of {', '.join(cls)}, but got number {number}:"
                " the server may be newer than this client"
            )
        return cls[name]


_SWEEP_STATES: dict[int, str] = {number: name for name, number in sweeps_pb2.Sweep.State.items()}
_TRIAL_STATES: dict[int, str] = {number: name for name, number in sweeps_pb2.Trial.State.items()}


@dataclass(frozen=True)
class Trial:
    """A setting of a sweep with its seeds."""

    number: int
    """From 1, in the order of submission."""
    state: TrialState
    """SUCCEEDED if all jobs did; DIVERGED if a job did and none failed; PRUNED: stopped early."""
    setting: Mapping[str, Any]
    """The varied values by their paths, as a job file writes them."""
    label: str
    """The setting in words."""
    compared: str
    """The compared value that it belongs to; empty if none are compared."""
    is_final: bool
    """It repeats a chosen setting with fresh seeds."""
    jobs: tuple[str, ...]
    """jobs/{id}, one per seed."""
    value: float | None
    """Mean of the objective over its seeds; None until all have ended, and without a value.

    Of a trial that was stopped early, what its first seed had reached.
    """
    sd: float | None
    """Standard deviation over the seeds; None below two."""
    count: int
    """Seeds that SUCCEEDED with a value."""
    reused: int
    """Jobs that were taken over from earlier sweeps."""
    message: str
    """Why the setting was refused, or the trial stopped early; else empty."""
    decision: str = ""
    """Of a final trial, where seeds are added while the question is open: the latest look."""
    continued: int = 0
    """Jobs that went on from a shorter job's checkpoint."""

    @classmethod
    def of(cls, message: sweeps_pb2.Trial) -> "Trial":
        """Convert a message, such as that of an event.

        Raises:
            ValueError: This client does not know its state.
        """
        setting = {each.path: plain(each.value) for each in message.setting}
        return cls(
            number=message.number,
            state=TrialState.of(message.state),
            setting=setting,
            label=message.label or setting_text(setting.items()),
            compared=message.compared,
            is_final=message.is_final,
            jobs=tuple(message.jobs),
            value=message.value if message.HasField("value") else None,
            sd=message.sd if message.HasField("sd") else None,
            count=message.count,
            reused=message.reused,
            message=message.message,
            decision=message.decision.text,
            continued=message.continued,
        )


def trial_state_number(state: str) -> sweeps_pb2.Trial.State.ValueType:
    """Return the number of a trial's state by its name.

    Raises:
        ValueError: There is no such state.
    """
    name = str(state).upper()
    if name not in TrialState.__members__:
        raise ValueError(
            f"trial state must be one of {', '.join(TrialState)}, but got {str(state)!r}"
        )
    return sweeps_pb2.Trial.State.Value(name)


def sweep_state_number(state: str) -> sweeps_pb2.Sweep.State.ValueType:
    """Return the number of a sweep's state by its name.

    Raises:
        ValueError: There is no such state.
    """
    name = str(state).upper()
    if name not in SweepState.__members__:
        raise ValueError(
            f"sweep state must be one of {', '.join(SweepState)}, but got {str(state)!r}"
        )
    return sweeps_pb2.Sweep.State.Value(name)
