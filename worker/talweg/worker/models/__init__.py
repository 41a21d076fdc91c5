"""Networks, built from their messages."""

from talweg.worker.models.architectures.detector import SIDES
from talweg.worker.models.architectures.generative import (
    GeneratorAndCritic,
    VariationalAutoencoder,
    draw,
)
from talweg.worker.models.categories import CategoryBlock
from talweg.worker.models.heads import HeadShape
from talweg.worker.models.layers import LAYERS
from talweg.worker.models.registry import MODELS, build
from talweg.worker.models.shared_output import share_answers

__all__ = [
    "LAYERS",
    "MODELS",
    "SIDES",
    "CategoryBlock",
    "GeneratorAndCritic",
    "HeadShape",
    "VariationalAutoencoder",
    "build",
    "draw",
    "share_answers",
]
