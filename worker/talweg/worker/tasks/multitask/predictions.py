"""What each of several heads predicts, one after another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from talweg.spec import Head, heads, spec_of_head
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Column, ObjectDetection, Segmentation
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.postprocessing import Postprocessor, read, statistics
from talweg.worker.tasks.detection import predictions as of_boxes
from talweg.worker.tasks.regression.predictions import Numbers
from talweg.worker.tasks.segmentation import predictions as of_pixels


@dataclass(frozen=True)
class HeadPredictions(Postprocessor):
    """Each head's predictions, flattened (N, numbers of all heads)."""

    kind = "heads"
    heads: Mapping[str, Postprocessor]
    """What makes each head's, by its name, in their order."""

    def __call__(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Return the predictions of outputs by the head's name."""
        each = [postprocess(outputs[name]).flatten(1) for name, postprocess in self.heads.items()]
        return torch.cat(each, dim=1)

    def described(self) -> dict[str, Any]:
        """Return the heads in their order."""
        each = [
            {"name": name, "prediction": postprocess.described()}
            for name, postprocess in self.heads.items()
        ]
        return {"kind": self.kind, "heads": each}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """Make one of what `described` gave."""
        return cls(
            {head["name"]: read(head["prediction"], _OF_HEADS) for head in parameters["heads"]}
        )


POSTPROCESSORS = (HeadPredictions,)
_OF_HEADS = (Numbers, *of_boxes.POSTPROCESSORS, *of_pixels.POSTPROCESSORS)


def postprocessor(spec: JobSpec, bundle: DataBundle) -> HeadPredictions:
    """Make the postprocessor of a filled spec over its data."""
    return HeadPredictions({head.name: of_head(spec, head, bundle) for head in heads(spec)})


def of_head(spec: JobSpec, head: Head, bundle: DataBundle) -> Postprocessor:
    """Make the postprocessor of one head."""
    single = spec_of_head(spec, head)
    if isinstance(head.message, Segmentation):
        return of_pixels.postprocessor(single, bundle)
    if isinstance(head.message, ObjectDetection):
        return of_boxes.postprocessor(single, bundle)
    if isinstance(head.message, Column):
        return of_column(bundle, head.message.column)
    return Numbers()


def of_column(bundle: DataBundle, column: int) -> Numbers:
    """Make the postprocessor of one of a sample's numbers."""
    units = statistics(bundle.target_scaler)
    mean, sd = ([units[name][column]] if units else [] for name in ("mean", "sd"))
    return Numbers(mean=mean, sd=sd)
