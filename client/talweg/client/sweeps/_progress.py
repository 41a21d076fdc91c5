"""How far a sweep is, as terminals and notebooks show it."""

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from talweg.client._lines import duration, number
from talweg.client._values import JobState
from talweg.client.sweeps._tables import value_text
from talweg.client.sweeps._values import SweepState, Trial, TrialState
from talweg.spec import drop_control, goal_of
from talweg.spec.sweeps import sweep_title
from talweg.v1 import options_pb2

if TYPE_CHECKING:
    from talweg.v1.sweeps_pb2 import Sweep

_LONGEST_S = 100 * 86_400
_TOLD = (TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED, TrialState.CANCELLED)


class SweepProgress:
    """The progress of one sweep, updated by its messages."""

    def __init__(self, message: "Sweep") -> None:
        """Begin with a sweep as it is; the pace is measured from here on."""
        self._message = message
        self._begun = time.monotonic()
        self._num_before = self.num_jobs_ended

    def take(self, message: "Sweep") -> None:
        """Go on with a newer message."""
        was_paused = self.state is SweepState.PAUSED
        self._message = message
        if was_paused:
            # What follows has a pace of its own.
            self._begun, self._num_before = time.monotonic(), self.num_jobs_ended

    @property
    def message(self) -> "Sweep":
        """The newest message."""
        return self._message

    @property
    def state(self) -> SweepState:
        """The state of the sweep."""
        return SweepState.of(self._message.state)

    @property
    def title(self) -> str:
        """The display name of the sweep, or what it varies."""
        return drop_control(sweep_title(self._message.spec))

    @property
    def jobs(self) -> dict[JobState, int]:
        """Number of submitted jobs by state."""
        return {JobState.of(each.state): each.count for each in self._message.jobs}

    @property
    def trials(self) -> dict[TrialState, int]:
        """Number of trials that have begun, by state."""
        return {TrialState.of(each.state): each.count for each in self._message.trials}

    @property
    def num_jobs_ended(self) -> int:
        """Jobs that have ended, however."""
        return sum(count for state, count in self.jobs.items() if state.is_final)

    @property
    def num_trials_ended(self) -> int:
        """Trials that have ended, however."""
        return sum(count for state, count in self.trials.items() if state.is_final)

    @property
    def num_trials(self) -> int:
        """Trials of the search, and those that repeat the chosen settings with fresh seeds."""
        spec, final = self._message.spec, 0
        final_seeds = spec.compare.final_seeds or spec.compare.decide.max_seeds
        if spec.HasField("compare") and final_seeds:
            num_searched = self._message.num_trials * max(1, spec.seeds.count)
            final = max(0, self._message.num_jobs - num_searched) // final_seeds
        return self._message.num_trials + final

    @property
    def share(self) -> float:
        """The fraction of the jobs that have ended, from 0 to 1."""
        if self.state is SweepState.SUCCEEDED:
            return 1.0
        return min(1.0, self.num_jobs_ended / max(1, self._message.num_jobs))

    @property
    def trials_text(self) -> str:
        """How many trials have ended, of all."""
        return f"{self.num_trials_ended}/{max(self.num_trials, self.num_trials_ended)} trials"

    @property
    def counts(self) -> list[str]:
        """Trials that have ended, jobs that run, and what went wrong, in words."""
        parts = [self.trials_text]
        if running := self.jobs.get(JobState.RUNNING, 0):
            parts.append(f"{running} job{'s' * (running > 1)} running")
        for state in _TOLD:
            if count := self.trials.get(state, 0):
                parts.append(f"{count} {state.lower()}")
        if reused := self._message.num_reused:
            parts.append(f"{reused} job{'s' * (reused > 1)} taken over")
        if continued := self._message.num_continued:
            parts.append(f"{continued} job{'s' * (continued > 1)} went on from shorter ones")
        return parts

    @property
    def left_text(self) -> str:
        """How long it still takes, at the pace of the jobs since the beginning."""
        num_ended = self.num_jobs_ended - self._num_before
        if self.state is not SweepState.RUNNING or num_ended <= 0:
            return ""
        num_left = max(0, self._message.num_jobs - self.num_jobs_ended)
        seconds = num_left * (time.monotonic() - self._begun) / num_ended
        if self._message.HasField("deadline"):
            deadline = self._message.deadline.ToDatetime(tzinfo=UTC)
            seconds = min(seconds, (deadline - datetime.now(UTC)).total_seconds())
        return f"{duration(timedelta(seconds=min(seconds, _LONGEST_S)))} left"

    @property
    def best(self) -> tuple[Trial, ...]:
        """The best trial so far; where values are compared, that of each."""
        return tuple(map(Trial.of, self._message.best))

    @property
    def best_value_text(self) -> str:
        """The best value of all; the number first, which must not be cut off."""
        metric = self._message.spec.objective.metric
        values = [trial.value for trial in self.best if trial.value is not None]
        if not values:
            return ""
        is_high = goal_of(self._message.spec.base, metric) == options_pb2.MAXIMIZE
        return f"{number(max(values) if is_high else min(values))} {metric}"

    @property
    def best_texts(self) -> list[str]:
        """Value and setting of the best trials, a line each."""
        metric = self._message.spec.objective.metric
        return [
            drop_control(f"{metric} {value_text(trial)}  {trial.label}")
            for trial in self.best
            if trial.value is not None
        ]
