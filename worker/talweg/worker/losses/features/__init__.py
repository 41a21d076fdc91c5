"""Frozen networks whose features losses compare: VGG16, and models that this service trained.

Where their weights lie is the operator's to say, in TALWEG_VGG_WEIGHTS, TALWEG_MODELS_DIR and
TALWEG_BLOBS. A loss names no path.
"""

from collections.abc import Sequence

from talweg import spec
from talweg.v1 import losses_pb2 as pb
from talweg.worker.errors import UserSpecError
from talweg.worker.losses.features.network import FeatureNetwork
from talweg.worker.losses.features.trained import of_folder, of_job
from talweg.worker.losses.features.vgg16 import VGG16_LAYERS, Vgg16, vgg16
from talweg.worker.settings import Settings

__all__ = ["VGG16_LAYERS", "FeatureNetwork", "Vgg16", "load"]


def load(network: pb.FeatureNetwork, layers: Sequence[str]) -> FeatureNetwork:
    """Load the network that a filled message names.

    Args:
        network: Which.
        layers: The layers that are wanted; none for the default ones.

    Raises:
        UserSpecError: No weights are named or kept, they are not those of the network, or it has
            no such layers.
        StoreAwayError: The blob store, in which a job's model is, cannot be reached now.
    """
    doubled = [layer for index, layer in enumerate(layers) if layer in layers[:index]]
    if doubled:
        raise UserSpecError(f"layers must be named once each, but got {doubled[0]} again")
    _, message = spec.kind(network)
    settings = Settings.from_env()
    if isinstance(message, pb.JobModel):
        return of_job(settings.blobs, message, layers)
    if isinstance(message, pb.TrainedModel):
        return of_folder(settings.models_dir, message.model, layers)
    return vgg16(settings.vgg_weights, layers)
