"""A trained model as an ONNX file, held against PyTorch before it is written.

The client loads it by the entry point `onnx` of the group `talweg.offers`. It needs the extra
`talweg[onnx]`.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxscript  # noqa: F401 - what torch.onnx builds the graph with
import torch
from numpy.typing import NDArray
from torch import Tensor

from talweg.spec.local.whole_files import written_aside
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.artifacts import trained
from talweg.worker.artifacts.predictor import load_example
from talweg.worker.artifacts.trained import TrainedModel
from talweg.worker.errors import WorkerError

INPUT, OUTPUT = "x", "y"
BATCHES = (1, 2, 7)
TOLERANCE = 1e-5
# Protocol buffers hold no more, and the weights are in the file.
_MOST_BYTES = 2**31 - 2**20
_MOST_SAID = 300
_METADATA = "talweg.model"


class ExportError(WorkerError, ValueError):
    """A model cannot be written as ONNX, or would not predict what PyTorch does."""


@dataclass(frozen=True)
class OnnxFile:
    """A model that was written."""

    path: Path
    """The file."""
    input_shape: tuple[int, ...]
    """The shape of one input, float32."""
    output_shape: tuple[int, ...]
    """The shape of one output, float32."""
    difference: float
    """The largest difference from PyTorch's outputs that was found."""


def export(folder: Path, spec: JobSpec, target: Path) -> OnnxFile:
    """Write the model of a job as ONNX; the file is there whole or not at all.

    It takes `x`, float32 (N, *input_shape), and gives `y`, float32 (N, *output_shape), for any N:
    what `TrainedModel` takes and gives when it is called. Names of columns and classes are JSON in
    its metadata, as `talweg.model`. ONNX Runtime's outputs must be those of PyTorch, to an
    absolute and a relative difference of 1e-5 together, for 1, 2 and 7 samples.

    Args:
        folder: Holds `model.json`, `weights.safetensors` and `example.safetensors`.
        spec: The job's, filled.
        target: The file.

    Raises:
        ExportError: It cannot be done, or the outputs differ.
        OSError: A file cannot be read or written.
    """
    model, example = trained.load(folder, spec), load_example(folder)
    _check_size(model)
    with written_aside(target) as aside:
        # What cannot be written is said at once, not after the export.
        aside.touch()
        _write(model, example, aside)
        difference, shape = _compare(model, example, aside)
    return OnnxFile(target, model.input_shape, shape, difference)


def _check_size(model: TrainedModel) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > _MOST_BYTES:
        raise ExportError(
            f"the model's weights must fit into one ONNX file of at most 2 GiB, but have "
            f"{size / 2**30:.1f} GiB"
        )


def _write(model: TrainedModel, example: Tensor, path: Path) -> None:
    # Of one sample the number of samples would be taken for a constant.
    samples = example.repeat(2, *(1,) * (example.ndim - 1))
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                model,
                (samples,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            program.model.metadata_props[_METADATA] = json.dumps(_metadata(model))
            program.save(path, external_data=False)
    except OSError:
        raise
    except Exception as exc:
        raise ExportError(f"torch.onnx cannot export this model: {_cause(exc)}") from exc


def _metadata(model: TrainedModel) -> dict[str, object]:
    return {"inputs": list(model.input_names), "outputs": dict(model.output_names)}


def _compare(model: TrainedModel, example: Tensor, path: Path) -> tuple[float, tuple[int, ...]]:
    """Return the largest difference from PyTorch, and the shape of an output.

    Raises:
        ExportError: A difference is too large, or the file cannot be run.
    """
    largest, shape = 0.0, (0,)
    try:
        onnx.checker.check_model(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for inputs in _samples(example):
            with torch.inference_mode():
                wanted: NDArray[np.float32] = model(inputs).numpy()
            (found,) = session.run([OUTPUT], {INPUT: inputs.numpy()})
            largest = max(largest, _difference(wanted, np.asarray(found)))
            shape = wanted.shape[1:]
    except ExportError:
        raise
    except Exception as exc:
        raise ExportError(f"ONNX Runtime cannot run what torch.onnx wrote: {_cause(exc)}") from exc
    return largest, shape


def _samples(example: Tensor) -> Iterator[Tensor]:
    """Yield inputs of each number of samples: of the data, and others between them."""
    generator = torch.Generator().manual_seed(0)
    for count in BATCHES:
        first, second = (
            example[torch.randint(len(example), (count,), generator=generator)] for _ in range(2)
        )
        share = torch.rand((count, *(1,) * (example.ndim - 1)), generator=generator)
        # The first is as it came; a mixture of samples shows what was taken for a constant.
        share[0] = 1
        yield (share * first + (1 - share) * second).contiguous()


def _difference(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    if wanted.shape != found.shape:
        raise ExportError(
            f"the ONNX model must give {wanted.shape} for {len(wanted)} samples as PyTorch does, "
            f"but gives {found.shape}"
        )
    difference = np.abs(wanted - found)
    # What is no number is no larger than anything.
    if not (difference <= TOLERANCE + TOLERANCE * np.abs(wanted)).all():
        raise ExportError(
            f"outputs of the ONNX model must be PyTorch's to {TOLERANCE:g}, but for {len(wanted)} "
            f"samples they differ by up to {np.max(difference):.3g}, where PyTorch gives up to "
            f"{np.max(np.abs(wanted)):.3g}: nothing was written. job.model() has PyTorch's own"
        )
    return float(difference.max(initial=0.0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter says of packages that no model here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _cause(exc: BaseException) -> str:
    """Return the first line of what an error began with."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0] if lines else ''}"[:_MOST_SAID]
