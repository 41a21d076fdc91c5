"""The tasks: one entry each.

To add a task: a folder with its runner and the modules `predictions` and `plots`, and its entry in
`TASKS`.
"""

import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from talweg.spec import Measured, kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.classification import measures as classification_measures
from talweg.worker.tasks.classification import predictions as class_predictions
from talweg.worker.tasks.classification.binary import Binary
from talweg.worker.tasks.classification.multiclass import Multiclass
from talweg.worker.tasks.classification.multilabel import Multilabel
from talweg.worker.tasks.common.base import TaskRunner
from talweg.worker.tasks.common.postprocessing import Postprocessor
from talweg.worker.tasks.detection import measures as detection_measures
from talweg.worker.tasks.detection import predictions as box_predictions
from talweg.worker.tasks.detection.task import Detection
from talweg.worker.tasks.gan import predictions as sample_predictions
from talweg.worker.tasks.gan.task import Gan
from talweg.worker.tasks.image_translation import measures as image_translation_measures
from talweg.worker.tasks.image_translation import predictions as image_predictions
from talweg.worker.tasks.image_translation.task import ImageTranslation
from talweg.worker.tasks.metric_learning import measures as metric_learning_measures
from talweg.worker.tasks.metric_learning import pairs_triplets
from talweg.worker.tasks.metric_learning import predictions as embedding_predictions
from talweg.worker.tasks.multitask import measures as multitask_measures
from talweg.worker.tasks.multitask import predictions as head_predictions
from talweg.worker.tasks.multitask.task import Multitask
from talweg.worker.tasks.ordinal import measures as ordinal_measures
from talweg.worker.tasks.ordinal import predictions as rank_predictions
from talweg.worker.tasks.ordinal.task import Ordinal
from talweg.worker.tasks.regression import measures as regression_measures
from talweg.worker.tasks.regression import predictions as number_predictions
from talweg.worker.tasks.regression.task import Regression
from talweg.worker.tasks.segmentation import measures as segmentation_measures
from talweg.worker.tasks.segmentation import predictions as pixel_predictions
from talweg.worker.tasks.segmentation.task import Segmentation
from talweg.worker.tasks.self_supervised import measures as self_supervised_measures
from talweg.worker.tasks.self_supervised import predictions as augmented_predictions
from talweg.worker.tasks.self_supervised.task import SelfSupervised
from talweg.worker.tasks.vae import measures as vae_measures
from talweg.worker.tasks.vae import predictions as reconstruction_predictions
from talweg.worker.tasks.vae.task import Vae

if TYPE_CHECKING:
    from talweg.worker.tasks.common.plots.task_plots import TaskPlots


class PredictionModule(Protocol):
    """A task's module `predictions`."""

    @property
    def POSTPROCESSORS(self) -> Sequence[type[Postprocessor]]:  # noqa: N802
        """Through which its models' outputs may go."""

    def postprocessor(self, spec: JobSpec, bundle: DataBundle) -> Postprocessor:
        """Make the postprocessor of a filled spec over its data."""


@dataclass(frozen=True)
class TaskEntry:
    """What the worker knows of a task."""

    runner: Callable[[JobSpec, DataBundle], TaskRunner]
    """Makes the runner of a filled spec over its data."""
    predictions: PredictionModule
    """Turns outputs into predictions."""
    plots: str
    """The `TaskPlots` that draw its pictures, as module:name; see `plots_of`."""
    measured: Callable[[DataBundle, JobSpec], Iterator[Measured]] | None = None
    """Looks at the training split for what tells of the choice of a loss; see `measure`."""
    num_noise: Callable[[JobSpec], int] | None = None
    """The numbers of noise that a trained model takes in place of the data's inputs, where it
    does."""
    shares_weights: Callable[[JobSpec], bool] = lambda spec: False
    """Whether all outputs of a spec's model come from one score."""


TASKS: dict[str, TaskEntry] = {
    "regression": TaskEntry(
        Regression,
        number_predictions,
        "regression.plots:PLOTS",
        measured=regression_measures.measured,
    ),
    "binary": TaskEntry(
        Binary,
        class_predictions,
        "classification.plots:CLASSES",
        measured=classification_measures.binary,
    ),
    "multiclass": TaskEntry(
        Multiclass,
        class_predictions,
        "classification.plots:CLASSES",
        measured=classification_measures.multiclass,
    ),
    "multilabel": TaskEntry(
        Multilabel,
        class_predictions,
        "classification.plots:LABELS",
        measured=classification_measures.multilabel,
    ),
    "ordinal": TaskEntry(
        Ordinal,
        rank_predictions,
        "ordinal.plots:PLOTS",
        measured=ordinal_measures.measured,
        shares_weights=rank_predictions.shares_weights,
    ),
    "segmentation": TaskEntry(
        Segmentation,
        pixel_predictions,
        "segmentation.plots:PLOTS",
        measured=segmentation_measures.measured,
    ),
    "detection": TaskEntry(
        Detection, box_predictions, "detection.plots:PLOTS", measured=detection_measures.measured
    ),
    "metric_learning": TaskEntry(
        pairs_triplets.runner,
        embedding_predictions,
        "metric_learning.plots:PLOTS",
        measured=metric_learning_measures.measured,
    ),
    "self_supervised": TaskEntry(
        SelfSupervised,
        augmented_predictions,
        "self_supervised.plots:PLOTS",
        measured=self_supervised_measures.measured,
    ),
    "gan": TaskEntry(
        Gan, sample_predictions, "gan.plots:PLOTS", num_noise=sample_predictions.num_noise
    ),
    "vae": TaskEntry(
        Vae, reconstruction_predictions, "vae.plots:PLOTS", measured=vae_measures.measured
    ),
    "image_translation": TaskEntry(
        ImageTranslation,
        image_predictions,
        "image_translation.plots:PLOTS",
        measured=image_translation_measures.measured,
    ),
    "multitask": TaskEntry(
        Multitask, head_predictions, "multitask.plots:PLOTS", measured=multitask_measures.measured
    ),
}
"""Every member of `Task`."""


def make(spec: JobSpec, bundle: DataBundle) -> TaskRunner:
    """Make the task of a filled spec over its data."""
    return TASKS[kind(spec.task)[0]].runner(spec, bundle)


def plots_of(task: str) -> "TaskPlots":
    """Load what draws a task's pictures.

    By name, since matplotlib comes with it: deliveries load it, and training does without its
    seconds and megabytes.
    """
    plots: TaskPlots = pkgutil.resolve_name(f"talweg.worker.tasks.{TASKS[task].plots}")
    return plots
