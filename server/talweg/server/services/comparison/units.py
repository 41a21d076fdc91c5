"""The independent values of each group, and their differences to the baseline."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import fmean

from talweg.server.services.comparison.compare import Group
from talweg.server.services.comparison.repetitions import Design, Level, Repetition

# Squares of greater ones are no numbers.
_LARGEST = 1e100


@dataclass(frozen=True)
class GroupUnits:
    """A group's values."""

    by_repetition: Mapping[Repetition, float]
    """The mean of those jobs whose seeds are all equal, by these."""
    level: Level
    """Down to which values are one unit."""
    num_jobs: int
    """How many jobs these are."""

    @property
    def values(self) -> list[float]:
        """One value per unit."""
        return _by_unit(self.by_repetition, self.level)

    def differences(self, baseline: "GroupUnits") -> list[float]:
        """Return the difference to the baseline of each unit that both have."""
        return _by_unit(
            {
                repetition: value - baseline.by_repetition[repetition]
                for repetition, value in self.by_repetition.items()
                if repetition in baseline.by_repetition
            },
            self.level,
        )


def units_of(group: Group, design: Design) -> GroupUnits:
    """Return the values of a group, of the jobs that count."""
    values: dict[Repetition, list[float]] = {}
    for row in group.rows:
        value = row.value
        if row.counts and value is not None and is_usable(value):
            values.setdefault(Repetition.of(row.job.job_spec), []).append(value)
    means = {repetition: fmean(each) for repetition, each in values.items()}
    return GroupUnits(means, design.level, sum(map(len, values.values())))


def is_usable(value: float) -> bool:
    """Return whether statistics can be computed with a value."""
    return math.isfinite(value) and abs(value) <= _LARGEST


def _by_unit(values: Mapping[Repetition, float], level: Level) -> list[float]:
    units: dict[Hashable, list[float]] = {}
    for repetition, value in values.items():
        units.setdefault(repetition.unit(level), []).append(value)
    return [fmean(each) for each in units.values()]
