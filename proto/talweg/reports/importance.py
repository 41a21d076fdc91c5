"""How much of the variance between trials each varied path explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, quantiles

from talweg.spec.sweeps.space import plain
from talweg.v1.sweeps_pb2 import Trial

_NUM_BINS = 4
# With fewer trials than this, shares of variance are mostly noise.
MIN_TRIALS = 12


# How trials rank by their state: those that ran to their end first.
_RANKED = (Trial.SUCCEEDED, Trial.PRUNED, Trial.DIVERGED)


@dataclass(frozen=True)
class Importance:
    """A path, or paths whose values always change together, and the share."""

    paths: tuple[str, ...]
    """The paths."""
    share: float
    """Between 0 and 1."""
    num_trials: int
    """Ranked trials that have the paths."""

    @property
    def label(self) -> str:
        """The paths in short."""
        if len(self.paths) == 1:
            return self.paths[0]
        return " + ".join(path.rpartition(".")[2] for path in self.paths)


def importances(trials: Sequence[Trial], is_high: bool) -> list[Importance]:
    """Return the paths by their share of the variance of the objective, the largest first.

    The share is omega squared of a one-way analysis of variance over the path's values, numbers by
    quarters: what the path explains by itself, less what as many groups of noise would. Ranks
    stand in for values, so that one runaway trial does not decide, and that trials count which
    were stopped early or diverged: without them the search would look harmless where it is not.

    Args:
        trials: Trials of one search or several; those that did not end by themselves are left out.
        is_high: High values are better.
    """
    ranked = [trial for trial in trials if _is_ranked(trial)]
    if len(ranked) < MIN_TRIALS:
        return []
    by_path: dict[str, list[tuple[object, Trial]]] = {}
    for trial in ranked:
        for setting in trial.setting:
            pair = (plain(setting.value), trial)
            by_path.setdefault(setting.path, []).append(pair)
    # What a zip ties together groups the same trials alike, and cannot be told apart.
    tied: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for path, pairs in by_path.items():
        groups: dict[object, int] = {}
        keys = _keys([value for value, _ in pairs])
        numbers = [groups.setdefault(key, len(groups)) for key in keys]
        grouped = zip((trial.number for _, trial in pairs), numbers, strict=True)
        tied.setdefault(tuple(grouped), []).append(path)
    found = []
    for grouping, paths in tied.items():
        ranks = _ranks([_order(trial, is_high) for _, trial in by_path[paths[0]]])
        share = _share([group for _, group in grouping], ranks)
        if share is not None:
            found.append(Importance(tuple(paths), share, len(grouping)))
    return sorted(found, key=lambda each: -each.share)


def _is_ranked(trial: Trial) -> bool:
    has_value = trial.HasField("value") and math.isfinite(trial.value)
    return trial.state in _RANKED and (has_value or trial.state == Trial.DIVERGED)


def _order(trial: Trial, is_high: bool) -> tuple[int, float]:
    """Return what trials are ranked by, the best lowest."""
    place = _RANKED.index(trial.state)
    if trial.state == Trial.DIVERGED:
        return place, 0.0
    return place, -trial.value if is_high else trial.value


def _share(groups: Sequence[int], ranks: Sequence[float]) -> float | None:
    """Return omega squared of ranks by group; None where it says nothing."""
    num_groups = len(set(groups))
    if len(ranks) < MIN_TRIALS or num_groups < 2 or num_groups >= len(ranks):
        return None
    by_group: dict[int, list[float]] = {}
    for group, rank in zip(groups, ranks, strict=True):
        by_group.setdefault(group, []).append(rank)
    mean = fmean(ranks)
    between = sum(len(each) * (fmean(each) - mean) ** 2 for each in by_group.values())
    total = sum((rank - mean) ** 2 for rank in ranks)
    if not total:
        return None
    noise = (total - between) / (len(ranks) - num_groups)
    share = (between - (num_groups - 1) * noise) / (total + noise)
    return min(max(share, 0.0), 1.0)


def _ranks(values: Sequence[tuple[int, float]]) -> list[float]:
    """Return the rank of each value; equal ones share theirs."""
    ranks: dict[tuple[int, float], float] = {}
    begin = 0
    for value, equal in groupby(sorted(values)):
        count = len(list(equal))
        ranks[value] = begin + (count - 1) / 2
        begin += count
    return [ranks[value] for value in values]


def _keys(settings: Sequence[object]) -> list[object]:
    """Return the group of each setting: numbers of many by quarters, all else by itself."""
    numbers = [value for value in settings if isinstance(value, (int, float))]
    if len(numbers) < len(settings) or len(set(numbers)) <= _NUM_BINS:
        return [repr(value) for value in settings]
    edges = quantiles(numbers, n=_NUM_BINS)
    return [sum(value > edge for edge in edges) for value in numbers]
