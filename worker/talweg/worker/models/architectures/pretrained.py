"""Published architectures of Hugging Face transformers, an optional extra of the worker."""

import re
from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from torch import Tensor, nn
from torch.nn import functional as F

from talweg.spec.semantics.pretrained import EXTRA, architecture_size
from talweg.v1 import models_pb2 as messages
from talweg.worker.errors import UserSpecError
from talweg.worker.models.layers import Shape

# Importing it takes seconds, and it need not be installed.
_LIBRARY = "talweg.worker.models.architectures.hugging_face"
_PACKAGE = "transformers"
_HEAD = "classifier"
# Published files have names of earlier versions of the library.
_RENAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "resnet": ((r"^classifier\.1\.", "classifier."),),
    "vit": (
        (r"\bencoder\.layer\.", "layers."),
        (r"\.attention\.attention\.query\.", ".attention.q_proj."),
        (r"\.attention\.attention\.key\.", ".attention.k_proj."),
        (r"\.attention\.attention\.value\.", ".attention.v_proj."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
    ),
    "convnextv2": (),
}


class Adapt(nn.Module):
    """Bring images into the form that a network takes.

    Takes (N, C, H, W) and gives (N, channels, height, width): images of one channel repeat it, and
    images of other sides are scaled bilinearly, with antialiasing where that makes them smaller.
    """

    def __init__(self, channels: int, sides: tuple[int, int]) -> None:
        """Adapt to some channels and sides (height, width)."""
        super().__init__()
        self.channels = channels
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        """Return images (N, channels, height, width)."""
        if x.shape[-2:] != self.sides:
            is_smaller = any(new < old for new, old in zip(self.sides, x.shape[-2:], strict=True))
            x = F.interpolate(x, size=self.sides, mode="bilinear", antialias=is_smaller)
        return x if x.shape[1] == self.channels else x.expand(-1, self.channels, -1, -1)


def pretrained(
    model: messages.Pretrained, shape: Shape, num_outputs: int
) -> OrderedDict[str, nn.Module]:
    """Return a filled network's modules in order; for arguments see `build`.

    They take (N, C, H, W) and give (N, num_outputs). Their parameters have the names that the
    library gives them, such as ``vit.layers.0.mlp.fc1.weight`` and ``classifier.weight``.

    Raises:
        UserSpecError: The extra is not installed here.
    """
    size = architecture_size(model)
    channels = model.channels or shape[0]
    sides = (model.image_size, model.image_size) if model.image_size else (shape[1], shape[2])
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    if (channels, *sides) != shape:
        modules["adapt"] = Adapt(channels, sides)
    name = messages.Pretrained.Architecture.Name(model.architecture)
    modules[name] = getattr(_library(), name)(size, (channels, *sides)).train()
    if model.dropout > 0:
        modules["dropout"] = nn.Dropout(model.dropout)
    modules[_HEAD] = nn.Linear(size.hidden_sizes[-1], num_outputs)
    return modules


def published_names(model: messages.Pretrained) -> Callable[[str], str]:
    """Return what turns the name of a tensor in a published file into the model's own.

    Files of the backbone alone lack its name at the front: ``embeddings.cls_token`` is
    ``vit.embeddings.cls_token``.

    Args:
        model: Filled.
    """
    backbone = messages.Pretrained.Architecture.Name(model.architecture)

    def own(name: str) -> str:
        for pattern, replacement in _RENAMED[backbone]:
            name = re.sub(pattern, replacement, name)
        return name if name.startswith((f"{backbone}.", f"{_HEAD}.")) else f"{backbone}.{name}"

    return own


def library_version() -> dict[str, str]:
    """Return the package that builds such models and its version; nothing where it is missing."""
    try:
        return {"package": _PACKAGE, "version": version(_PACKAGE)}
    except PackageNotFoundError:
        return {}


def _library() -> object:
    """Import the library, which nothing here asks for more than networks of random weights.

    Raises:
        UserSpecError: It is not installed.
    """
    try:
        return import_module(_LIBRARY)
    except ModuleNotFoundError as exc:
        raise UserSpecError(
            f"a pretrained model needs {exc.name}, which is not installed here. Install it with: "
            f'pip install "talweg[{EXTRA}]"; workers must be started again'
        ) from exc
