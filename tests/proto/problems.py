"""Problems for the tests of advice: for each fact values that matter, alone and in pairs."""

import functools
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from talweg.spec import SpecError, from_dict, recommend
from talweg.spec.advice._facts import kinds, tasks_of
from talweg.v1.recommendations_pb2 import ProblemFacts, RecommendLossResponse

VALUES: Mapping[str, tuple[Any, ...]] = {
    "outliers": (0, 0.05, 0.2),
    "heavy_tailed": (True,),
    "targets": ("numbers", "counts", "amounts"),
    "noise_varies": (True,),
    "error_bars": (True,),
    "quantiles": ([0.9], [0.1, 0.9]),
    "over_cost": (1, 3),
    "smooth": (True,),
    "imbalance": (1, 5, 50, 500),
    "miss_cost": (1, 5),
    "easy_samples": (True,),
    "noisy_labels": (0, 0.02, 0.2),
    "calibrated": (True,),
    "metric": tuple(ProblemFacts.Metric.keys()),
    "num_classes": (10, 5000),
    "embeddings": (True,),
    "teacher": (True,),
    "unaligned": (True,),
    "foreground": (0.01, 0.5),
    "small_objects": (True,),
    "masks": ("multiclass", "binary", "multilabel"),
    "empty_images": (True,),
    "elongated": (True,),
    "known": ("labels", "pairs", "triplets", "order"),
    "batch_size": (16, 128, 512),
    "two_kinds": (True,),
    "queue": (True,),
    "predictor": (True,),
    "critic": ("free", "gradient_penalty", "clipped", "spectral_norm"),
    "inputs": ("values", "fractions"),
    "disentangled": (True,),
    "code_ignored": (True,),
    "grainy": (True,),
    "task_types": (["regression", "classification"],),
    "first_losses": ([100, 0.01], [1e-12, 1e12]),
    "speeds_differ": (True,),
    "look_alike": (True,),
}
"""Values of every fact, each side of every bound that rules know."""


def ask(task: str, **facts: Any) -> RecommendLossResponse:
    """Ask for advice, by facts in their JSON form."""
    return recommend(task, from_dict(facts, ProblemFacts, path="facts") if facts else None)


def facts_of(task: str) -> list[str]:
    """Name the facts that bear on a task."""
    return [name for name in VALUES if kinds()[task] in tasks_of(name)]


@functools.cache
def problems(task: str) -> tuple[tuple[dict[str, Any], RecommendLossResponse], ...]:
    """Give problems of a task without contradictions, and the advice on each."""
    found = []
    for facts in _combinations(task):
        try:
            found.append((facts, ask(task, **facts)))
        except SpecError:
            continue
    return tuple(found)


def _combinations(task: str) -> Iterator[dict[str, Any]]:
    single = [(name, value) for name in facts_of(task) for value in VALUES[name]]
    yield {}
    for one in single:
        yield dict([one])
    for one, other in combinations(single, 2):
        if one[0] != other[0]:
            yield dict([one, other])
