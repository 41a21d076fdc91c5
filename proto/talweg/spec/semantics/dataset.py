"""What a spec alone says about its data: sizes, shapes, classes."""

import math
from dataclasses import dataclass

from talweg.spec.semantics.dataset_facts import facts_of_chosen, is_looked_up
from talweg.spec.semantics.facts import chosen
from talweg.v1.options_pb2 import DatasetFacts
from talweg.v1.spec_pb2 import JobSpec, Split

# Shares are sums of decimal fractions, which binary ones miss by a little.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Data:
    """The data that a spec names."""

    name: str
    """The member of `Dataset`."""
    facts: DatasetFacts
    """What the catalogue says."""
    num_samples: int
    """Samples in all."""
    shape: tuple[int, ...]
    """The shape of one sample's inputs."""
    num_classes: int
    """Classes, ranks or labels; 0 for numbers as targets."""
    num_targets: int
    """Targets a sample: numbers, classes, ranks or labels."""


def data_of(spec: JobSpec) -> Data | None:
    """Give the data that a filled spec names; None where it names none, or none looked up yet."""
    name, facts = chosen(spec.dataset), facts_of_chosen(spec.dataset)
    if facts is None or not is_looked_up(spec.dataset):
        return None
    message = getattr(spec.dataset, name)
    num_classes = facts.num_classes or getattr(message, "num_classes", 0)
    if chosen(spec.task) == "ordinal" and not num_classes:
        num_classes = spec.task.ordinal.ranks
    return Data(
        name=name,
        facts=facts,
        num_samples=facts.num_samples or getattr(message, "num_samples", 0),
        shape=tuple(facts.shape) or (getattr(message, "num_features", 0),),
        num_classes=num_classes,
        num_targets=num_classes or facts.num_targets or getattr(message, "num_targets", 1),
    )


def is_fold(split: Split) -> bool:
    """Tell whether the test data are a fold of a cross-validation."""
    return split.fold >= 1 and split.folds >= 2


def split_sizes(split: Split, num_samples: int) -> tuple[int, int, int]:
    """Give the numbers of samples to train on, to validate on and to test on.

    Validation and test get their shares rounded down; training gets the rest where the shares sum
    to 1, else its own share rounded down. Of folds the test gets one, the first of them being
    larger by one where they are not equal.
    """
    validation, test = (
        math.floor(share * num_samples + TOLERANCE) for share in (split.validation, split.test)
    )
    if is_fold(split):
        test = num_samples // split.folds + (split.fold <= num_samples % split.folds)
    if abs(split.train + split.validation + split.test - 1) <= TOLERANCE:
        return num_samples - validation - test, validation, test
    return math.floor(split.train * num_samples + TOLERANCE), validation, test
