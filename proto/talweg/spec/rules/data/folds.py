"""Rules about the folds of a cross-validation."""

import math
from collections.abc import Iterator

from talweg.spec.errors import Violation, number_text
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.dataset import TOLERANCE, Data
from talweg.spec.semantics.dataset_facts import dataset_facts
from talweg.spec.semantics.facts import chosen
from talweg.spec.semantics.pairs_triplets import examples_of
from talweg.v1 import options_pb2
from talweg.v1.datasets_pb2 import Digits
from talweg.v1.tasks_pb2 import MetricLearning

_FOLD, _FOLDS = "split.fold", "split.folds"
_LEAST = 2
# Generated from the images of the digits, which are what is divided.
_OF_DIGITS = ("digit_scenes", "digit_pairs", "digit_triplets")


def fold_rules(case: SpecContext) -> Iterator[Violation]:
    """Check a fold against the number of folds, and that against what is divided."""
    split = case.spec.split
    if not case.sound("split") or not (split.HasField("fold") or split.HasField("folds")):
        return
    if not split.HasField("folds"):
        yield Violation(
            _FOLDS,
            f"nothing, with fold: {split.fold}",
            "the number of folds",
            f"write split: {{fold: {split.fold}, folds: {max(split.fold, 5)}}}",
        )
    elif not split.HasField("fold"):
        yield Violation(
            _FOLD,
            f"nothing, with folds: {split.folds}",
            f"the fold of the test data, 1 to {split.folds}",
            "a job trains for one fold: submit one job per fold",
        )
    elif split.fold > split.folds:
        yield Violation(_FOLD, str(split.fold), f"1 to {split.folds}, the number of folds")
    else:
        yield from _fractions(case)
        yield from _divided_otherwise(case)
        yield from _enough(case)


def _fractions(case: SpecContext) -> Iterator[Violation]:
    split = case.spec.split
    share = 1 / split.folds
    if abs(split.test - share) > TOLERANCE:
        yield Violation(
            "split.test",
            f"{number_text(split.test)} with folds: {split.folds}",
            f"{number_text(share)}, a fold",
            "leave it out",
        )
    elif split.validation + share > 1 - TOLERANCE:
        yield Violation(
            "split.validation",
            f"{number_text(split.validation)} with folds: {split.folds}, of which one is for the "
            "test",
            f"less than {number_text(1 - share)}, so that samples are left for training",
        )


def _divided_otherwise(case: SpecContext) -> Iterator[Violation]:
    """Refuse folds of data whose columns say already what is the test."""
    if chosen(case.spec.dataset) != "stored":
        return
    stored = case.spec.dataset.stored
    for role, hint in (
        ("time", "leave folds out: with folds, training would know what comes after the test"),
        ("split", "leave one of them out"),
    ):
        if column := getattr(stored, role):
            yield Violation(
                _FOLDS,
                f"{case.spec.split.folds} with dataset.stored.{role}: {column}",
                f"folds, or dataset.stored.{role}",
                hint,
            )


def _enough(case: SpecContext) -> Iterator[Violation]:
    """Refuse more folds than there are samples, groups, or samples of a class to be dealt out."""
    data, folds = case.data, case.spec.split.folds
    if data is None:
        return
    if case.task == options_pb2.METRIC_LEARNING and (
        examples_of(case.spec) == MetricLearning.labels
    ):
        if data.num_classes and folds > data.num_classes // _LEAST:
            yield Violation(
                _FOLDS,
                f"{folds} folds of the {data.num_classes} classes of {data.name}",
                _at_most(data.num_classes // _LEAST),
                "under metric_learning the classes are split, not the samples, and a fold needs 2",
            )
        return
    if data.facts.num_groups:
        if folds > data.facts.num_groups:
            yield Violation(
                _FOLDS,
                f"{folds} folds of {data.facts.num_groups} groups in "
                f"{case.spec.dataset.stored.group}",
                _at_most(data.facts.num_groups),
                "all samples of a group stand in the same fold",
            )
        return
    count, what = data.num_samples, "samples"
    if data.name in _OF_DIGITS:
        of_images = dataset_facts(Digits.DESCRIPTOR).num_samples
        if of_images < count:
            count, what = of_images, "images that the samples are made of"
    if folds > count:
        yield Violation(_FOLDS, f"{folds} folds of {count} {what}", _at_most(count))
        return
    smallest = _smallest_class(case, data)
    if not case.spec.split.stratified:
        return
    left = smallest - math.ceil(smallest / folds)
    if folds > smallest:
        yield Violation(
            _FOLDS,
            f"{folds} folds of {smallest} samples of the smallest class",
            f"{_at_most(smallest)}, or stratified: false",
            "in a stratified split each fold has samples of each class",
        )
    elif case.spec.split.validation > 0 and left < _LEAST:
        yield Violation(
            "split.validation",
            f"{number_text(case.spec.split.validation)} with {folds} folds of {smallest} samples "
            f"of the smallest class, of which {left} is left for training and validation",
            "0, or stratified: false",
            "in a stratified split both have samples of each class",
        )


def _smallest_class(case: SpecContext, data: Data) -> int:
    """Return the samples of the smallest class, or the most that they can be."""
    if data.facts.smallest_class:
        return data.facts.smallest_class
    share = 1 / max(data.num_classes, 1)
    if data.name == "synthetic_classification":
        share = min([share, *case.spec.dataset.synthetic_classification.class_shares])
    return int(share * data.num_samples + TOLERANCE)


def _at_most(count: int) -> str:
    return f"{_LEAST} to {count} folds" if count > _LEAST else f"{_LEAST} folds at most"
