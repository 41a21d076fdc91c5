"""What a model plug-in is told beside its parameters."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelContext:
    """What a job needs of its model."""

    task: str
    """The job's task, such as multiclass."""
    input_shape: tuple[int, ...]
    """The shape of one sample: (features,) or (channels, height, width)."""
    num_outputs: int
    """Outputs per sample; for segmentation and image translation, outputs per pixel."""
    output_shape: tuple[int, ...]
    """The shape of what the model must return for one sample: (num_outputs,), or (num_outputs,
    height, width) for segmentation and image translation."""
