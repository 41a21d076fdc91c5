"""What the training split of masks tells of the choice of a loss."""

from collections.abc import Iterator

import numpy as np

from talweg.spec import Measured
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Segmentation
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.measures import shortened
from talweg.worker.tasks.segmentation.task import ignored_value

# Images without an object that make them many.
_MANY_EMPTY = 0.1


def measured(bundle: DataBundle, spec: JobSpec) -> Iterator[Measured]:
    """Tell what the training split says of the choice of a loss."""
    masks = bundle.train.arrays["mask"].numpy()
    ignored = ignored_value(bundle)
    if ignored is not None:
        # Pixels without a class are no objects, and of none.
        counted = masks[masks != ignored]
        masks = np.where(masks == ignored, 0, masks)
    else:
        counted = masks.reshape(-1)
    counts = np.bincount(counted.reshape(-1), minlength=len(bundle.class_names) or 2)
    share = float(np.mean(counted > 0)) if counted.size else 0.0
    empty = float(np.mean(~np.any(masks > 0, axis=tuple(range(1, masks.ndim)))))
    if spec.task.segmentation.target == Segmentation.foreground:
        yield Measured("a pixel is foreground or not", "masks", "binary")
        if share:
            yield Measured(
                f"objects cover {share:.2%} of the pixels", "foreground", shortened(share)
            )
    else:
        yield Measured(f"a pixel is one of {len(counts)} classes", "masks", "multiclass")
        occurring = np.flatnonzero(counts)
        rarest = int(occurring[counts[occurring].argmin()])
        of_rarest = counts[rarest] / counted.size
        name = bundle.class_names[rarest] if bundle.class_names else str(rarest)
        yield Measured(
            f"objects cover {share:.2%} of the pixels, the rarest class ({name}) {of_rarest:.2%}",
            "foreground", shortened(of_rarest),
        )  # fmt: skip
    if empty >= _MANY_EMPTY:
        yield Measured(f"{empty:.1%} of the images hold no object", "empty_images", True)
