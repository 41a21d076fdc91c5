"""Rules about published architectures: their sizes, and the images that they take."""

import math
from collections.abc import Iterator

from talweg.spec.errors import Violation, one_of, shown
from talweg.spec.rules.data.dataset import MAX_TOKENS
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.pretrained import (
    OWN_FIELDS,
    SIZES,
    ArchitectureSize,
    architecture_size,
    pretrained_in,
)
from talweg.v1.models_pb2 import Pretrained

# A bottleneck has a quarter of the channels inside.
_NARROWED = 4


def pretrained_rules(case: SpecContext) -> Iterator[Violation]:
    """Check the numbers of published architectures against each other and the images."""
    if not case.sound("model"):
        return
    for path, model in pretrained_in(case.spec.model):
        sizes = SIZES.get(model.architecture, {})
        name = Pretrained.Architecture.Name(model.architecture)
        yield from _foreign(model, name, path)
        if model.size and model.size not in sizes:
            yield Violation(f"{path}.size", f"{shown(model.size)} of {name}", one_of(sizes))
            continue
        size = architecture_size(model)
        shapes = list(_shape(model, size, name, path))
        yield from shapes
        if not shapes and case.data is not None and len(case.data.shape) == 3:
            yield from _images(model, size, case.data.shape, path)


def _foreign(model: Pretrained, name: str, path: str) -> Iterator[Violation]:
    own = OWN_FIELDS[model.architecture]
    for field in sorted({each for fields in OWN_FIELDS.values() for each in fields}):
        # Unset numbers are 0, and a block is of_size.
        if getattr(model, field) and field not in own:
            users = [
                name_of
                for name_of, each in Pretrained.Architecture.items()
                if field in OWN_FIELDS[each]
            ]
            yield Violation(
                f"{path}.{field}",
                f"{field} of {name}",
                f"nothing: {' and '.join(users)} alone {'has' if len(users) == 1 else 'have'} it",
                "leave it out",
            )


def _shape(model: Pretrained, size: ArchitectureSize, name: str, path: str) -> Iterator[Violation]:
    widths, depths = size.hidden_sizes, size.depths
    if model.architecture == Pretrained.vit:
        for field, values in (("hidden_sizes", widths), ("depths", depths)):
            if len(values) != 1:
                yield Violation(f"{path}.{field}", f"{len(values)} numbers", "one number of vit")
        if widths[0] % size.heads:
            yield Violation(
                f"{path}.heads", str(size.heads), f"a divisor of hidden_sizes ({widths[0]})"
            )
    elif len(widths) != len(depths):
        yield Violation(
            f"{path}.depths",
            f"{len(depths)} numbers of {name}",
            f"{len(widths)}, one per stage, as hidden_sizes has",
        )
    if model.architecture == Pretrained.resnet and size.bottleneck:
        for index, width in enumerate(widths):
            if width % _NARROWED:
                yield Violation(
                    f"{path}.hidden_sizes[{index}]",
                    str(width),
                    f"a multiple of {_NARROWED} with bottleneck blocks",
                )


def _images(
    model: Pretrained, size: ArchitectureSize, shape: tuple[int, ...], path: str
) -> Iterator[Violation]:
    channels, *sides = shape
    if (
        model.HasField("channels")
        and model.channels != channels
        and (channels, model.channels) != (1, 3)
    ):
        yield Violation(
            f"{path}.channels",
            f"{model.channels} on images of {channels} channel{'s' * (channels != 1)}",
            f"{channels}, or 3 on images of 1 channel",
            "leave it out",
        )
    if model.HasField("image_size"):
        sides = [model.image_size] * 2
    if model.architecture == Pretrained.vit:
        found = f"{size.patch_size} on images of {sides[0]}×{sides[1]} pixels"
        tokens = math.prod(side // size.patch_size for side in sides) + 1
        if any(side % size.patch_size for side in sides):
            hint = "image_size: 224 scales the images"
            yield Violation(f"{path}.patch_size", found, "a divisor of both sides", hint)
        elif tokens > MAX_TOKENS:
            yield Violation(
                f"{path}.patch_size",
                f"{found}: {tokens} tokens, all of which attend to each other",
                f"at most {MAX_TOKENS} tokens",
                "use larger patches",
            )
    least = size.patch_size * 2 ** (len(size.depths) - 1)
    if model.architecture == Pretrained.convnextv2 and min(sides) < least:
        yield Violation(
            f"{path}.image_size" if model.HasField("image_size") else path,
            f"images of {sides[0]}×{sides[1]} pixels",
            f"at least {least} pixels on each side",
            "image_size: 224 scales the images, and smaller patches or fewer stages need fewer "
            "pixels",
        )
