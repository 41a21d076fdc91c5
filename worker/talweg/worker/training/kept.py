"""What is kept of a run: its model, and what plots are drawn from."""

import torch

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.artifacts import predictor
from talweg.worker.data import DataBundle
from talweg.worker.training.interface import Kept, Result

# Channels, height, width.
_DIMS_OF_IMAGE = 3


def kept_of(result: Result, spec: JobSpec, bundle: DataBundle) -> Kept:
    """Return what is kept of a run.

    Args:
        result: How it ended; only of a success there is something.
        spec: Filled.
        bundle: What it learnt from.
    """
    outputs = spec.outputs
    shown = {name: torch.as_tensor(array) for name, array in result.shown.items()}
    if not outputs.model or result.model is None:
        return Kept(shown=shown if outputs.plots else {})
    return Kept(
        shown=shown if outputs.plots else {},
        weights=result.model.state_dict(),
        description=predictor.describe(spec, bundle),
        example=predictor.example(spec, bundle),
        is_of_images=len(bundle.inputs.shape) == _DIMS_OF_IMAGE,
    )
