"""Published architectures: the numbers of their sizes, and the extra that they need."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from talweg.v1.models_pb2 import Model, Pretrained
from talweg.v1.spec_pb2 import JobSpec

EXTRA = "pretrained"
"""The optional extra of the package that builds them."""


@dataclass(frozen=True)
class ArchitectureSize:
    """The numbers of an architecture of one size."""

    hidden_sizes: tuple[int, ...]
    """Channels of each stage; of a vision transformer the size of its token embeddings."""
    depths: tuple[int, ...]
    """Blocks of each stage."""
    heads: int = 0
    """Attention heads of a vision transformer."""
    intermediate_size: int = 0
    """Hidden units of its feed-forward network."""
    patch_size: int = 0
    """Side of the patches in pixels, where there are any."""
    embedding_size: int = 64
    """Channels of the first convolution of a residual network."""
    bottleneck: bool = False
    """Whether its blocks narrow to a quarter of their channels."""


def _resnet(*depths: int, bottleneck: bool) -> ArchitectureSize:
    widths = (256, 512, 1024, 2048) if bottleneck else (64, 128, 256, 512)
    return ArchitectureSize(widths, depths, bottleneck=bottleneck)


def _vit(width: int, depth: int, heads: int, patch: int = 16) -> ArchitectureSize:
    return ArchitectureSize((width,), (depth,), heads, 4 * width, patch)


def _convnext(width: int, *depths: int) -> ArchitectureSize:
    return ArchitectureSize(tuple(width * 2**stage for stage in range(4)), depths, patch_size=4)


SIZES: Mapping[int, Mapping[str, ArchitectureSize]] = {
    Pretrained.resnet: {
        "50": _resnet(3, 4, 6, 3, bottleneck=True),
        "18": _resnet(2, 2, 2, 2, bottleneck=False),
        "26": _resnet(2, 2, 2, 2, bottleneck=True),
        "34": _resnet(3, 4, 6, 3, bottleneck=False),
        "101": _resnet(3, 4, 23, 3, bottleneck=True),
        "152": _resnet(3, 8, 36, 3, bottleneck=True),
    },
    Pretrained.vit: {
        "base": _vit(768, 12, 12),
        "tiny": _vit(192, 12, 3),
        "small": _vit(384, 12, 6),
        "large": _vit(1024, 24, 16),
        "huge": _vit(1280, 32, 16, patch=14),
    },
    Pretrained.convnextv2: {
        "tiny": _convnext(96, 3, 3, 9, 3),
        "atto": _convnext(40, 2, 2, 6, 2),
        "femto": _convnext(48, 2, 2, 6, 2),
        "pico": _convnext(64, 2, 2, 6, 2),
        "nano": _convnext(80, 2, 2, 8, 2),
        "base": _convnext(128, 3, 3, 27, 3),
        "large": _convnext(192, 3, 3, 27, 3),
        "huge": _convnext(352, 3, 3, 27, 3),
    },
}
"""The published sizes of each architecture; the first is that of a model without one."""

OWN_FIELDS: Mapping[int, tuple[str, ...]] = {
    Pretrained.resnet: ("embedding_size", "block"),
    Pretrained.vit: ("heads", "intermediate_size", "patch_size"),
    Pretrained.convnextv2: ("patch_size",),
}
"""The numbers that not all architectures have, of each that has them."""


def architecture_size(model: Pretrained) -> ArchitectureSize:
    """Return the numbers of a model: those of its size, and its own in their place.

    Args:
        model: Filled and checked.
    """
    sizes = SIZES[model.architecture]
    size = sizes[model.size] if model.size else next(iter(sizes.values()))
    width = model.hidden_sizes[0] if model.hidden_sizes else size.hidden_sizes[0]
    blocks = {Pretrained.basic: False, Pretrained.bottleneck: True}
    return ArchitectureSize(
        hidden_sizes=tuple(model.hidden_sizes) or size.hidden_sizes,
        depths=tuple(model.depths) or size.depths,
        heads=model.heads or size.heads,
        intermediate_size=model.intermediate_size or (size.intermediate_size and 4 * width),
        patch_size=model.patch_size or size.patch_size,
        embedding_size=model.embedding_size or size.embedding_size,
        bottleneck=blocks.get(model.block, size.bottleneck),
    )


def pretrained_in(model: Model) -> Iterator[tuple[str, Pretrained]]:
    """Give each published architecture in a model, and where it stands."""
    for path, choice in (("model", model), ("model.embedder.trunk", model.embedder.trunk)):
        if choice.WhichOneof("kind") == "pretrained":
            yield f"{path}.pretrained", choice.pretrained


def extras_of(spec: JobSpec) -> dict[str, str]:
    """Return the extras that workers need for a job, each with the field that asks for it."""
    paths = [path for path, _ in pretrained_in(spec.model)]
    return {EXTRA: paths[0]} if paths else {}
