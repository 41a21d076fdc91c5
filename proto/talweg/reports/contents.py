"""What a report shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from talweg.spec.sweeps import sweep_title
from talweg.v1.options_pb2 import Goal
from talweg.v1.sweeps_pb2 import AnswerSweepResponse, Sweep, Trial


@dataclass(frozen=True)
class Curve:
    """The evaluations of one job."""

    steps: Sequence[int]
    """Optimizer steps taken, rising."""
    seconds: Sequence[float]
    """Time since the job's start; as many."""
    values: Sequence[float]
    """The objective; as many."""


@dataclass(frozen=True)
class ReportContents:
    """A sweep and its answer, as they are read for a report."""

    sweep: Sweep
    """The sweep."""
    answer: AnswerSweepResponse
    """What it shows."""
    trials: Sequence[Trial]
    """Trials of the search, the best first."""
    goal: Goal.ValueType
    """Whether the objective is better low or high."""
    curves: Mapping[str, Sequence[Curve]] = field(default_factory=dict)
    """Curves of the jobs that are compared, one a seed, by their label."""
    sweep_file: str = ""
    """The sweep as YAML."""

    @property
    def title(self) -> str:
        """What the report is called."""
        return sweep_title(self.sweep.spec)

    @property
    def is_high(self) -> bool:
        """Whether high values of the objective are better."""
        return self.goal == Goal.MAXIMIZE
