"""What scikit-learn's usual models reach on the same split: what a network should beat.

    vectors     one target a sample, several, or embeddings: models of the inputs as they are
    pixels      masks and images: models of what stands around each pixel
    objects     boxes: models of the parts that stand out from their image

Each gives metrics by the task's own code, under the names of `models`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.data.large import is_large
from talweg.worker.diagnostics.baselines import objects, pixels, vectors
from talweg.worker.tasks import EvalResult, OneTarget, TaskRunner
from talweg.worker.tasks.detection.task import Detection
from talweg.worker.tasks.image_translation.task import ImageTranslation
from talweg.worker.tasks.metric_learning.task import MetricLearning
from talweg.worker.tasks.segmentation.task import Segmentation

Metrics = Iterator[tuple[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Baselines:
    """What stands beside a network."""

    metrics: Metrics
    """Name and metrics, one model after another: each is trained when it is asked for."""
    left_out: str = ""
    """What is not trained though the spec asks for it, and why; empty where nothing is."""


def baselines_of(
    task: TaskRunner, spec: JobSpec, bundle: DataBundle, tested: EvalResult
) -> Baselines | None:
    """Return the models that a spec asks for; None where there are none for its task.

    They see what the network sees: the same training samples, with outliers put in where they
    are, and preprocessed alike. The validation data are used by none of them.

    Args:
        task: Its metrics are taken.
        spec: The job's, filled.
        bundle: Its data.
        tested: What came of the network's test.
    """
    if is_large(bundle.train.x.nbytes):
        return Baselines(iter(()), "the data do not fit in memory: scikit-learn has no baseline")
    if isinstance(task, OneTarget):
        if tested.predictions is None:
            return None
        reason = vectors.boosting_left_out(spec, bundle)
        return Baselines(vectors.metrics(task, spec, bundle, tested.predictions), reason)
    if isinstance(task, MetricLearning):
        return Baselines(vectors.embedding_metrics(spec.diagnostics.baseline, bundle))
    seed = spec.training.seed
    if isinstance(task, Segmentation | ImageTranslation):
        asked, reason = pixels.asked_of(task, spec, bundle)
        if isinstance(task, Segmentation):
            return Baselines(pixels.mask_metrics(task, asked, bundle, seed=seed), reason)
        return Baselines(pixels.image_metrics(asked, bundle, seed=seed), reason)
    if isinstance(task, Detection):
        reason = objects.left_out(bundle)
        return Baselines(iter(()) if reason else objects.metrics(task, spec, bundle), reason)
    return None
