"""What a sweep consists of: its searches, trials and jobs, each found by its number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from talweg.spec.reading.json_form import from_dict, to_dict
from talweg.spec.reading.override import put
from talweg.spec.sweeps.space import Product, Setting, node, product, random_setting
from talweg.spec.sweeps.wording import name_of, value_text
from talweg.spec.times import seconds_in
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Objective, SweepSpec

DEFAULT_TRIALS = 20
TAG_SWEEP, TAG_TRIAL = "sweep", "trial"
TAG_RUNS, PER_SETTING = "runs", "per_setting"
"""What jobs are tagged with that have no run in MLflow of their own."""
"""Tags of a sweep's jobs: the sweep's id, and the trial's number."""
# Training never stops by it, and keeps the weights of the best evaluation.
_UNLIMITED = 1_000_000_000


@dataclass(frozen=True)
class Search:
    """The search for the best setting; with `compare`, that of one compared value."""

    label: str
    """The compared value in words; empty without `compare`."""
    name: str
    """The member that the value chooses, such as huber; empty where it chooses none."""
    fixed: Setting
    """The compared value; nothing without `compare`."""
    space: Product
    """What is varied beside it."""
    num_trials: int
    """How many settings are tried."""

    def each(self) -> Iterator[Setting]:
        """Yield settings in which each value occurs."""
        for setting in self.space.each():
            yield (*self.fixed, *setting)


@dataclass(frozen=True)
class Planned:
    """A trial of the search."""

    search: int
    """The index of its search."""
    setting: Setting
    """Its values."""


class Plan:
    """Finds the trials of a sweep by their numbers, without listing them."""

    def __init__(self, spec: SweepSpec) -> None:
        """Read a spec.

        Args:
            spec: Filled, and in order.
        """
        self.spec = spec
        self._base = to_dict(spec.base)

    @cached_property
    def searches(self) -> Sequence[Search]:
        """The searches: one, or one a compared value."""
        dimensions = list(self.spec.space)
        if not self.spec.HasField("compare"):
            return [self._search("", "", (), product(dimensions))]
        path = self.spec.compare.path
        compared = next(each for each in dimensions if each.path == path)
        others = product([each for each in dimensions if each is not compared])
        searches = []
        if compared.choices:
            options = node(compared).options  # type: ignore[attr-defined]
        else:
            options = [(setting[0][1], Product()) for setting in node(compared).each()]
        for value, inner in options:
            space = Product([*inner.nodes, *others.nodes])
            searches.append(
                self._search(value_text(value), name_of(value), ((path, value),), space)
            )
        return searches

    def _search(self, label: str, name: str, fixed: Setting, space: Product) -> Search:
        count = space.count
        if self.is_grid:
            assert count is not None, "a grid is finite"
            num = count
        else:
            wanted = self.spec.trials or DEFAULT_TRIALS
            num = wanted if count is None else min(wanted, count)
        return Search(label, name, fixed, space, num)

    @property
    def is_grid(self) -> bool:
        """Whether every setting is tried."""
        return self.spec.algorithm.WhichOneof("kind") == "grid"

    @cached_property
    def num_trials(self) -> int:
        """Number of trials of all searches."""
        return sum(search.num_trials for search in self.searches)

    @property
    def num_jobs(self) -> int:
        """Number of jobs of all trials, final ones included; the most where seeds are added."""
        final = self.final_seeds * len(self.searches) if self.spec.HasField("compare") else 0
        return self.num_trials * self.spec.seeds.count + final

    @property
    def decides(self) -> bool:
        """Whether fresh seeds are added only while the question is open."""
        return self.spec.HasField("compare") and self.spec.compare.HasField("decide")

    @property
    def final_seeds(self) -> int:
        """Number of fresh seeds of each compared value; the most where seeds are added."""
        compare = self.spec.compare
        return compare.decide.max_seeds if self.decides else compare.final_seeds

    @cached_property
    def baseline(self) -> int:
        """The index of the search that the others are compared with."""
        wanted = self.spec.compare.baseline
        if not wanted:
            return 0
        labels = [search.label for search in self.searches]
        if wanted in labels:
            return labels.index(wanted)
        return [search.name for search in self.searches].index(wanted)

    @property
    def max_seconds(self) -> int | None:
        """How long the sweep may take; None where it has no limit."""
        seconds = seconds_in(self.spec.max_time)
        return None if seconds is None else int(seconds)

    @property
    def is_known(self) -> bool:
        """Whether settings are found without the search process: under grid and random."""
        return self.spec.algorithm.WhichOneof("kind") in ("grid", "random")

    def place(self, number: int) -> tuple[int, int]:
        """Return the index of a trial's search, and that of the trial in its search.

        Args:
            number: From 1 to `num_trials`. Searches take turns, so that an early end finds them
                equally far.
        """
        index = number - 1
        done = 0
        left = list(enumerate(self.searches))
        while left:
            # As many turns as the search with the fewest trials has.
            turns = min(search.num_trials for _, search in left) - done
            if index < turns * len(left):
                turn, position = divmod(index, len(left))
                return left[position][0], done + turn
            index -= turns * len(left)
            done += turns
            left = [(at, search) for at, search in left if search.num_trials > done]
        raise IndexError(number)

    def trial(self, number: int) -> Planned:
        """Return a trial of a grid or random search, where `is_known` holds.

        Args:
            number: From 1 to `num_trials`.
        """
        at, index = self.place(number)
        search = self.searches[at]
        return Planned(at, (*search.fixed, *self._setting(search, index)))

    def _setting(self, search: Search, index: int) -> Setting:
        assert self.is_known, "the search process chooses the settings of this algorithm"
        if self.is_grid:
            return search.space.at(index)
        # Compared values without settings of their own are tried at the same ones.
        return random_setting(search.space, str(self.spec.algorithm.random.seed), index)

    def job(self, setting: Setting, seed: int) -> JobSpec:
        """Return a job of a setting, as a user would submit it.

        Args:
            setting: Its values.
            seed: By how much seeds are raised above the base's.

        Raises:
            SpecError: The values do not fit their paths.
        """
        settings: list[tuple[str, Any]] = list(setting)
        for path in self.spec.seeds.vary:
            settings.append((path, seed_at(self._base, path) + seed))
        spec = from_dict(put(self._base, settings))
        if self.spec.HasField("session"):
            spec.session = self.spec.session
        objective = self.spec.objective
        if objective.metric and objective.at == Objective.best:
            if not spec.training.HasField("early_stopping"):
                spec.training.early_stopping.patience = _UNLIMITED
            if not spec.training.early_stopping.metric:
                spec.training.early_stopping.metric = objective.metric
        return spec


def seed_at(base: Mapping[str, Any], path: str) -> int:
    """Return the seed that stands at a path in the JSON form of a base; 0 where there is none."""
    value: Any = base
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) else 0
