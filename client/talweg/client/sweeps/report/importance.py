"""How much of the variance between trials each varied path explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from google.protobuf import json_format

from talweg.v1.sweeps_pb2 import Trial

_NUM_BINS = 4
# With fewer trials than this, shares of variance are mostly noise.
MIN_TRIALS = 12


@dataclass(frozen=True)
class Importance:
    """A path and its share."""

    path: str
    """The path."""
    share: float
    """Between 0 and 1."""
    num_trials: int
    """Trials with a value that have the path."""


def importances(trials: Sequence[Trial]) -> list[Importance]:
    """Return the paths by their share of the variance of the objective, the largest first.

    The share is omega squared of a one-way analysis of variance over the path's values, numbers by
    quarters: what the path explains by itself, less what as many groups of noise would. Ranks
    stand in for values, so that one runaway trial does not decide.

    Args:
        trials: Trials of one search or several; those without a value are left out.
    """
    valued = [trial for trial in trials if trial.HasField("value") and math.isfinite(trial.value)]
    if len(valued) < MIN_TRIALS:
        return []
    paths = dict.fromkeys(setting.path for trial in valued for setting in trial.setting)
    found = [each for path in paths if (each := _importance(path, valued)) is not None]
    return sorted(found, key=lambda each: -each.share)


def _importance(path: str, trials: Sequence[Trial]) -> Importance | None:
    pairs = [
        (json_format.MessageToDict(setting.value), trial.value)
        for trial in trials
        for setting in trial.setting
        if setting.path == path
    ]
    if len(pairs) < MIN_TRIALS:
        return None
    ranks = _ranks([value for _, value in pairs])
    groups: dict[object, list[float]] = {}
    for key, rank in zip(_keys([setting for setting, _ in pairs]), ranks, strict=True):
        groups.setdefault(key, []).append(rank)
    if len(groups) < 2 or len(groups) >= len(pairs):
        return None
    mean = fmean(ranks)
    between = sum(len(group) * (fmean(group) - mean) ** 2 for group in groups.values())
    total = sum((rank - mean) ** 2 for rank in ranks)
    if not total:
        return None
    noise = (total - between) / (len(ranks) - len(groups))
    share = (between - (len(groups) - 1) * noise) / (total + noise)
    return Importance(path, min(max(share, 0.0), 1.0), len(pairs))


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal ones share theirs."""
    order = sorted(values)
    first = {value: order.index(value) for value in set(values)}
    count = {value: order.count(value) for value in set(values)}
    return [first[value] + (count[value] - 1) / 2 for value in values]


def _keys(settings: Sequence[object]) -> list[object]:
    """Return the group of each setting: numbers of many by quarters, all else by itself."""
    numbers = [value for value in settings if isinstance(value, (int, float))]
    if len(numbers) < len(settings) or len(set(numbers)) <= _NUM_BINS:
        return [repr(value) for value in settings]
    edges = quantiles(numbers, n=_NUM_BINS)
    return [sum(value > edge for edge in edges) for value in numbers]
