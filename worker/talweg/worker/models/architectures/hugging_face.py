"""Backbones of Hugging Face transformers, from numbers alone.

Importing this takes seconds, so `talweg.worker.models.architectures.pretrained` does it where such
a model is built and nowhere else. Nothing is downloaded, and no code or pickle is read.
"""

from torch import Tensor, nn
from transformers import (
    ConvNextV2Config,
    ConvNextV2Model,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from talweg.spec.semantics.pretrained import ArchitectureSize

Shape = tuple[int, ...]


class Resnet(ResNetModel):  # type: ignore[misc]
    """ResNet: maps (N, C, H, W) to the mean of its last features (N, hidden_sizes[-1])."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        features: Tensor = super().forward(x).pooler_output
        return features.flatten(1)


class Vit(ViTModel):  # type: ignore[misc]
    """Vision transformer: maps (N, C, H, W) to the features of its first token (N, width)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        features: Tensor = super().forward(x).last_hidden_state
        return features[:, 0]


class Convnextv2(ConvNextV2Model):  # type: ignore[misc]
    """ConvNeXt V2: maps (N, C, H, W) to the normalised mean of its last features (N, width)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        features: Tensor = super().forward(x).pooler_output
        return features


def resnet(size: ArchitectureSize, shape: Shape) -> nn.Module:
    """Build a residual network for images of a shape (channels, height, width)."""
    return Resnet(
        ResNetConfig(
            num_channels=shape[0],
            embedding_size=size.embedding_size,
            hidden_sizes=list(size.hidden_sizes),
            depths=list(size.depths),
            layer_type="bottleneck" if size.bottleneck else "basic",
        )
    )


def vit(size: ArchitectureSize, shape: Shape) -> nn.Module:
    """Build a vision transformer for images of a shape (channels, height, width)."""
    config = ViTConfig(
        num_channels=shape[0],
        image_size=tuple(shape[1:]),
        patch_size=size.patch_size,
        hidden_size=size.hidden_sizes[0],
        num_hidden_layers=size.depths[0],
        num_attention_heads=size.heads,
        intermediate_size=size.intermediate_size,
        attn_implementation="sdpa",
    )
    return Vit(config, add_pooling_layer=False)


def convnextv2(size: ArchitectureSize, shape: Shape) -> nn.Module:
    """Build a ConvNeXt V2 for images of a shape (channels, height, width)."""
    return Convnextv2(
        ConvNextV2Config(
            num_channels=shape[0],
            patch_size=size.patch_size,
            num_stages=len(size.depths),
            hidden_sizes=list(size.hidden_sizes),
            depths=list(size.depths),
        )
    )
