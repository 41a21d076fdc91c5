"""Augmentation of training images, with the masks and boxes that belong to them.

    pipeline    what changes single images, by kornia
    boxes       boxes after their images have moved
    mixing      mixup and cutmix, which mix images of a batch
    noise       noise, also that of the views of self-supervised learning

Everything is drawn from torch's random state of the CPU: whoever calls sets it.
"""

from talweg.worker.tasks.augmentation.noise import draw
from talweg.worker.tasks.augmentation.pipeline import Augmenter

__all__ = ["Augmenter", "draw"]
