"""From a spec's task to its runner."""

from __future__ import annotations

from talweg.spec import given_of, kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning
from talweg.worker.data import DataBundle
from talweg.worker.tasks.classification.task import Binary, Multiclass, Multilabel
from talweg.worker.tasks.common.base import TaskRunner
from talweg.worker.tasks.detection.task import Detection
from talweg.worker.tasks.gan.task import Gan
from talweg.worker.tasks.image_translation.task import ImageTranslation
from talweg.worker.tasks.metric_learning.pairs_triplets import GivenPairs, GivenTriplets
from talweg.worker.tasks.metric_learning.task import MetricLearning as ByLabels
from talweg.worker.tasks.multitask.task import Multitask
from talweg.worker.tasks.ordinal.task import Ordinal
from talweg.worker.tasks.regression.task import Regression
from talweg.worker.tasks.segmentation.task import Segmentation
from talweg.worker.tasks.self_supervised.task import SelfSupervised
from talweg.worker.tasks.vae.task import Vae

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
