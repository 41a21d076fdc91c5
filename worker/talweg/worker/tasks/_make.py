"""From a spec's task to its runner."""

from __future__ import annotations

from talweg.spec import given_of, kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning
from talweg.worker.data import DataBundle
from talweg.worker.tasks._base import TaskRunner
from talweg.worker.tasks._classification import Binary, Multiclass, Multilabel
from talweg.worker.tasks._detection import Detection
from talweg.worker.tasks._gan import Gan
from talweg.worker.tasks._given import GivenPairs, GivenTriplets
from talweg.worker.tasks._masks import Segmentation
from talweg.worker.tasks._metric_learning import MetricLearning as ByLabels
from talweg.worker.tasks._multitask import Multitask
from talweg.worker.tasks._ordinal import Ordinal
from talweg.worker.tasks._regression import Regression
from talweg.worker.tasks._self_supervised import SelfSupervised
from talweg.worker.tasks._translation import ImageTranslation
from talweg.worker.tasks._vae import Vae

TASKS: dict[str, type[TaskRunner]] = {
    "regression": Regression,
    "binary": Binary,
    "multiclass": Multiclass,
    "multilabel": Multilabel,
    "ordinal": Ordinal,
    "segmentation": Segmentation,
    "detection": Detection,
    "metric_learning": ByLabels,
    "self_supervised": SelfSupervised,
    "gan": Gan,
    "vae": Vae,
    "image_translation": ImageTranslation,
    "multitask": Multitask,
}
"""Every member of `Task` with its class."""

GIVEN: dict[int, type[TaskRunner]] = {
    MetricLearning.pairs: GivenPairs,
    MetricLearning.triplets: GivenTriplets,
}
"""Metric learning of what else may be given than labels."""


def make(spec: JobSpec, bundle: DataBundle) -> TaskRunner:
    """Make the task of a filled spec over its data."""
    name, _ = kind(spec.task)
    return GIVEN.get(given_of(spec), TASKS[name])(spec, bundle)
