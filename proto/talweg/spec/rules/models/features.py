"""Rules of losses that compare a frozen network's features, and the jobs that trained one."""

import math
from collections.abc import Iterator

from talweg.spec.errors import Violation, number_text, one_of
from talweg.spec.semantics.context import Leaf, SpecContext
from talweg.spec.semantics.facts import chosen, leaves
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import JobModel, Perceptual
from talweg.v1.spec_pb2 import JobSpec

# VGG16's convolutions between two pools.
_BLOCKS = (2, 2, 3, 3, 3)
_VGG16 = [f"relu{b}_{n}" for b, count in enumerate(_BLOCKS, 1) for n in range(1, count + 1)]
_VGG16_CHANNELS = 3
# A learned weight is e^-s, with s no further from 0.
_FURTHEST = 20.0


def job_models(spec: JobSpec) -> Iterator[tuple[str, JobModel]]:
    """Give each model of another job that a spec's loss names, and where it stands.

    The messages are the spec's own.
    """
    for path, name, message in leaves(spec.loss):
        if isinstance(message, Perceptual) and message.network.WhichOneof("kind") == "job":
            yield f"{path}.{name}.network.job", message.network.job


def feature_rules(case: SpecContext) -> Iterator[Violation]:
    """Check the layers that are compared, their weights, and images that VGG16 cannot take."""
    if case.task != options_pb2.IMAGE_TRANSLATION:
        return
    for leaf in case.fitting:
        if isinstance(leaf.message, Perceptual):
            yield from _layers(leaf, leaf.message)
            yield from _weights(leaf, leaf.message)
            if chosen(leaf.message.network) == "vgg16":
                yield from _vgg16(case, leaf, leaf.message)


def _layers(leaf: Leaf, loss: Perceptual) -> Iterator[Violation]:
    path, layers = f"{leaf.member}.layers", list(loss.layers)
    is_vgg = chosen(loss.network) == "vgg16"
    if not layers and not is_vgg:
        yield Violation(
            path,
            "nothing",
            "the names of the layers to compare",
            "the layers of a trained model are its modules, such as relu1 and relu2 of a convnet",
        )
    known = set[str]()
    for index, layer in enumerate(layers):
        if layer in known:
            yield Violation(f"{path}[{index}]", f"{layer} twice", "each layer once")
        elif is_vgg and layer not in _VGG16:
            yield Violation(f"{path}[{index}]", layer, one_of(_VGG16))
        known.add(layer)


def _weights(leaf: Leaf, loss: Perceptual) -> Iterator[Violation]:
    path, weights = f"{leaf.member}.layer_weights", list(loss.layer_weights)
    number = len(loss.layers) or (len(_BLOCKS) if chosen(loss.network) == "vgg16" else 0)
    if not weights or not number:
        return
    if len(weights) != number:
        yield Violation(path, f"{len(weights)} weights", f"{number}, one per layer")
    elif not any(weight > 0 for weight in weights):
        yield Violation(path, "no weight above 0", "at least one weight > 0")
    if not loss.learned:
        return
    for index, weight in enumerate(weights):
        if not (weight > 0 and abs(math.log(weight)) <= _FURTHEST):
            yield Violation(
                f"{path}[{index}]",
                number_text(weight),
                "an initial weight from 2.1e-9 to 4.8e8",
            )


def _vgg16(case: SpecContext, leaf: Leaf, loss: Perceptual) -> Iterator[Violation]:
    shape = case.data.shape if case.data is not None else ()
    if case.data is None or len(shape) != 3:
        return
    name, hint = case.data.name, "network: {job: jobs/ID} uses a model that this service trained"
    if shape[0] != _VGG16_CHANNELS:
        yield Violation(
            f"{leaf.member}.network",
            f"vgg16 and images of {shape[0]} channel{'s' * (shape[0] != 1)} in {name}",
            f"images of {_VGG16_CHANNELS} channels",
            hint,
        )
    blocks = [int(layer[4]) for layer in loss.layers if layer in _VGG16] or [len(_BLOCKS)]
    least = 2 ** (max(blocks) - 1)
    if min(shape[1:]) < least:
        yield Violation(
            f"{leaf.member}.layers",
            f"layers of vgg16 that need {least}×{least} pixels",
            f"layers for the images of {name}, which have {shape[1]} by {shape[2]}",
            hint,
        )
