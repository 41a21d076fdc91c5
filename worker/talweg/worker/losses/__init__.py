"""The losses: the catalogue's messages as PyTorch modules.

`build` makes the module of a `Loss` message; its call checks names, shapes and dtypes and
nothing that would cost a pass over the data. `evaluate` computes a loss once and checks it all.
Beside them stand the functions of the catalogue that are no losses of named tensors.
To add a loss, touch the four files that proto/talweg/v1/losses.proto names.
"""

from talweg.worker.losses.base import LossModule, Part
from talweg.worker.losses.class_counts import ClassCounts, class_weights, with_counts
from talweg.worker.losses.composed.sum import Sum
from talweg.worker.losses.composed.user_defined import OwnLoss
from talweg.worker.losses.families.gradient_penalty import gradient_penalty
from talweg.worker.losses.families.images import Perceptual, frozen_digests
from talweg.worker.losses.functional.gradients import clip_by_global_norm, clip_by_value
from talweg.worker.losses.registry import build, evaluate

__all__ = [
    "ClassCounts",
    "LossModule",
    "Part",
    "OwnLoss",
    "Perceptual",
    "Sum",
    "build",
    "class_weights",
    "clip_by_global_norm",
    "clip_by_value",
    "evaluate",
    "frozen_digests",
    "gradient_penalty",
    "with_counts",
]
