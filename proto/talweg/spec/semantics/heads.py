"""The heads of a multitask job: each with its name, its task and its loss."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Depth, ObjectDetection, Segmentation


@dataclass(frozen=True)
class Head:
    """One head of a multitask job."""

    name: str
    """What its metrics begin with."""
    kind: str
    """The member of the head's choice."""
    message: Message
    """Its parameters."""
    path: str
    """Where its `Loss` stands, or would stand."""
    loss: Loss | None
    """Its loss; None where the spec gives none."""

    @property
    def of_pixels(self) -> bool:
        """Whether it gives outputs for each pixel."""
        return isinstance(self.message, (Segmentation, Depth))

    @property
    def of_boxes(self) -> bool:
        """Whether it gives classes and boxes."""
        return isinstance(self.message, ObjectDetection)

    @property
    def of_classes(self) -> bool:
        """Whether its loss counts as that of classes; a detector's is of boxes beside them."""
        return isinstance(self.message, (Segmentation, ObjectDetection))


def heads(spec: JobSpec) -> tuple[Head, ...]:
    """Give the heads of a multitask job, those that choose what they are; none for other tasks."""
    losses = list(head_losses(spec.loss))
    around = _PATHS.get(spec.loss.WhichOneof("kind") or "", "")
    chosen = []
    for place, head in enumerate(spec.task.multitask.heads):
        kind = head.WhichOneof("kind")
        if kind is not None:
            loss = losses[place] if place < len(losses) else None
            path = around.format(place)
            chosen.append(Head(head.name or kind, kind, getattr(head, kind), path, loss))
    return tuple(chosen)


_PATHS = {
    "sum": "loss.sum.terms[{}].loss",
    "uncertainty": "loss.uncertainty.losses[{}]",
    "gradnorm": "loss.gradnorm.losses[{}]",
}


def head_losses(loss: Loss) -> Iterator[Loss]:
    """Give the losses of a multitask job's heads, in their order."""
    name = loss.WhichOneof("kind")
    if name == "sum":
        yield from (term.loss for term in loss.sum.terms)
    elif name == "uncertainty":
        yield from loss.uncertainty.losses
    elif name == "gradnorm":
        yield from loss.gradnorm.losses


def spec_of_head(spec: JobSpec, head: Head) -> JobSpec:
    """Give the job that a head would be by itself: segmentation, detection or regression."""
    single = JobSpec()
    single.CopyFrom(spec)
    if isinstance(head.message, Segmentation):
        single.task.segmentation.CopyFrom(head.message)
    elif isinstance(head.message, ObjectDetection):
        single.task.detection.CopyFrom(head.message)
    else:
        single.task.regression.SetInParent()
    single.loss.Clear()
    if head.loss is not None:
        single.loss.CopyFrom(head.loss)
    return single
