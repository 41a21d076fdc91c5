"""A model in MLflow's own format: PyTorch flavour, as an exported program, no pickles."""

import shutil
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor

from talweg.worker.artifacts import talweg_model, talweg_outputs
from talweg.worker.artifacts.output_names import has_names, output_names
from talweg.worker.artifacts.predictor import Predictor
from talweg.worker.data.stored import talweg_table
from talweg.worker.errors import WorkerError

NAME = "model"
# What MLflow writes of an example.
_EXAMPLES = ("input_example.json", "serving_input_example.json")


class UploadError(WorkerError):
    """The model was written, and could not be sent; the cause says why."""


class _OnCpu:
    """MLflow's PyTorch flavour, for models that load on the CPU wherever they are loaded.

    An exported program stays on the device it was exported on; left alone, MLflow would ask for
    CUDA on machines that have it, and refuse.
    """

    __name__ = "mlflow.pytorch"

    def __init__(self, run_id: str | None = None) -> None:
        self._run_id = run_id
        self.is_saved = False

    def save_model(
        self,
        path: str,
        mlflow_model: Model,
        *,
        validate_serving_input: bool = False,  # noqa: ARG002 - meant for Model.log alone
        **arguments: Any,
    ) -> None:
        mlflow_model.run_id = self._run_id
        code = [talweg_model.__file__, talweg_outputs.__file__, talweg_table.__file__]
        mlflow.pytorch.save_model(
            path=path, mlflow_model=mlflow_model, code_paths=code, **arguments
        )
        mlflow_model.flavors["python_function"].update(
            loader_module=Path(talweg_model.__file__).stem, config={"device": "cpu"}
        )
        # MLflow exports by the inputs' schema. Kept, it would hold people to one type of number
        # and to either names or positions; the loader checks inputs instead.
        mlflow_model.signature = ModelSignature(outputs=mlflow_model.signature.outputs)
        if "table" in (mlflow_model.metadata or {}):
            # The example is of encoded inputs, and people give raw columns.
            mlflow_model.saved_input_example_info = None  # type: ignore[assignment]
            for name in _EXAMPLES:
                (Path(path) / name).unlink(missing_ok=True)
        mlflow_model.save(str(Path(path) / "MLmodel"))
        self.is_saved = True


def requirements() -> list[str]:
    """Return what loads the model; given, since MLflow takes seconds to find out."""
    torch_version = torch.__version__.partition("+")[0]
    return [f"mlflow=={mlflow.__version__}", f"torch=={torch_version}", f"numpy=={np.__version__}"]


class _Made:
    """A model that is in MLflow's format already, in a folder."""

    __name__ = _OnCpu.__name__

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder, self._run_id = folder, run_id
        self.is_saved = False

    def save_model(self, path: str, mlflow_model: Model, **_: Any) -> None:
        mlflow_model.run_id = self._run_id
        shutil.copytree(self._folder, path)
        made = Model.load(path)
        mlflow_model.flavors = made.flavors
        mlflow_model.signature = made.signature
        mlflow_model.metadata = made.metadata
        mlflow_model.saved_input_example_info = made.saved_input_example_info  # type: ignore[assignment]
        mlflow_model.save(str(Path(path) / "MLmodel"))
        self.is_saved = True


def write_model(model: Predictor, example: Tensor, folder: Path) -> None:
    """Write a model as `log_model` does, and send it nowhere.

    Args:
        model: In evaluation mode, on the CPU.
        example: At least two inputs.
        folder: Where it is written; not there yet.
    """
    metadata, arguments = _described(model, example)
    _OnCpu().save_model(str(folder), Model(metadata=metadata), **arguments)


def log_model(
    model: Predictor, example: Tensor, *, run_id: str, model_id: str, tracking_uri: str
) -> None:
    """Store a model with signature and input example, loadable with pickles forbidden.

    Args:
        model: In evaluation mode, on the CPU, float32 (N, …) to float32 (N, …).
        example: At least two inputs: MLflow would fix the size of a batch of one.
        run_id: The job's run, which names the model as its output already.
        model_id: Of the logged model to fill; filled again it is the same.
        tracking_uri: MLflow's address.

    Raises:
        UploadError: MLflow or its store has failed. What else is raised says that the model cannot
            be made.
    """
    metadata, arguments = _described(model, example)
    _log(
        _OnCpu(run_id),
        model_id=model_id,
        tracking_uri=tracking_uri,
        metadata=metadata,
        **arguments,
    )


def log_made(folder: Path, *, run_id: str, model_id: str, tracking_uri: str) -> None:
    """Store what `write_model` has written; it is not loaded here.

    Args:
        folder: Where it is.
        run_id: The job's run, which names the model as its output already.
        model_id: Of the logged model to fill.
        tracking_uri: MLflow's address.

    Raises:
        UploadError: MLflow or its store has failed.
    """
    _log(_Made(folder, run_id), model_id=model_id, tracking_uri=tracking_uri)


def _described(model: Predictor, example: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what MLflow is told of a model, and what it is saved by."""
    with torch.inference_mode():
        outputs = model(example)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *outputs.shape[1:]))]),
    )
    shape = list(example.shape[1:])
    names = list(model.input_names) if shape == [len(model.input_names)] else []
    description = getattr(model, "description", {})
    metadata: dict[str, Any] = {"inputs": {"names": names, "shape": shape}}
    if "dataset" in description:
        metadata["dataset"] = description["dataset"]
        metadata["inputs"]["from_bytes"] = description["inputs"].get("from_bytes", False)
        if has_names(description["task"]):
            metadata["outputs"] = output_names(description, outputs.shape[-1])
    if "table" in description:
        metadata["table"] = description["table"]
    return metadata, {
        "pytorch_model": model,
        "input_example": example.numpy(),
        "signature": signature,
        "pip_requirements": requirements(),
        "serialization_format": "pt2",
    }


def _log(flavor: _OnCpu | _Made, *, model_id: str, tracking_uri: str, **arguments: Any) -> None:
    mlflow.set_tracking_uri(tracking_uri)
    try:
        # Of no run: MLflow would name the model as the run's output, which it takes only once, and
        # read all points of the run to link those of step 0.
        Model.log(
            artifact_path=None,
            flavor=flavor,
            flavor_name="pytorch",
            name=NAME,
            model_id=model_id,
            # Else MLflow would load the model, and only log what it finds.
            validate_serving_input=False,
            **arguments,
        )
    except Exception as exc:
        if not flavor.is_saved:
            raise
        raise UploadError from exc
