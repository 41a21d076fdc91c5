"""Models that this service trained, as networks whose features losses compare."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from talweg.spec import is_model_folder
from talweg.v1 import losses_pb2 as pb
from talweg.worker.errors import NoModelError, StoreAwayError, UserSpecError
from talweg.worker.losses.features.network import FeatureNetwork, require_layers
from talweg.worker.models import saved
from talweg.worker.models.saved import SavedModel
from talweg.worker.storage import job_store, trained_models


def of_job(store: str, model: pb.JobModel, layers: Sequence[str]) -> FeatureNetwork:
    """Load the model that a job of the same project has kept in the blob store.

    Raises:
        UserSpecError: It is not there, cannot be built, or has no such layers.
        StoreAwayError: The store cannot be reached now.
    """
    try:
        blobs = job_store.current().open(store)
    except (OSError, ImportError, ValueError) as exc:
        raise StoreAwayError(f"the blob store cannot be used: {exc}") from exc
    try:
        stored = trained_models.read(blobs, model.job, model.sha256)
    except OSError as exc:
        raise StoreAwayError(f"the blob store is unreachable: {exc}") from exc
    except NoModelError as exc:
        raise UserSpecError(f"network.job must be a job whose model is kept, but {exc}") from exc
    try:
        trained = saved.rebuild(stored.description, stored.weights)
    except Exception as exc:  # Whatever the file holds.
        raise UserSpecError(
            f"network.job must be a job whose model can be built, but that of {model.job} cannot: "
            f"{' '.join(str(exc).split())}"
        ) from exc
    return _of_model(trained, f"job {model.job}", layers)


def of_folder(folder: Path | None, name: str, layers: Sequence[str]) -> FeatureNetwork:
    """Load a model of the operator's folder of trained models.

    Raises:
        UserSpecError: It is not there, cannot be built, or has no such layers.
    """
    if not is_model_folder(name):
        raise UserSpecError(
            "network trained must name a folder by letters, digits, spaces, dots, dashes and "
            f"underscores, beginning with a letter or digit, but got {name[:100]!a}"
        )
    if folder is None:
        raise UserSpecError(
            f"network trained {name} must be in the folder that TALWEG_MODELS_DIR names where "
            f"the loss is computed, but that is not set"
        )
    try:
        trained = saved.load(folder / name)
    except Exception as exc:  # Whatever the files hold.
        raise UserSpecError(
            f"network trained must be a model in the folder that TALWEG_MODELS_DIR names, "
            f"but {name} could not be built: {' '.join(str(exc).split())}"
        ) from exc
    return _of_model(trained, f"trained {name}", layers)


def _of_model(trained: SavedModel, name: str, layers: Sequence[str]) -> FeatureNetwork:
    shape, whole = trained.input_shape, trained.network
    if len(shape) != 3:
        raise UserSpecError(
            f"network must be a model of images (C, H, W), but {name} takes {shape}"
        )
    known = [path for path, _ in whole.named_modules() if path]
    if not layers:
        raise UserSpecError(
            f"layers must name modules of {name}, {', '.join(known)}, but got none"
        )
    require_layers(layers, known)
    # What stands behind the last layer is not computed: it often takes one size of images alone.
    children = dict(whole.named_children())
    last = max(list(children).index(layer.partition(".")[0]) for layer in layers)
    features = FeatureNetwork(
        nn.Sequential(OrderedDict(list(children.items())[: last + 1])),
        layers,
        mean=trained.mean,
        sd=trained.sd,
        shape=shape,
    )
    try:
        features(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, TypeError) as exc:
        raise UserSpecError(
            f"layers must be modules of {name} that give features of an image, but: "
            f"{' '.join(str(exc).split())}"
        ) from exc
    return features
