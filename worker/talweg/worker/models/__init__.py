"""Networks, built from their messages."""

from talweg.worker.models._build import MODELS, build
from talweg.worker.models._detector import SIDES
from talweg.worker.models._generative import GeneratorAndCritic, VariationalAutoencoder, draw
from talweg.worker.models._heads import HeadShape
from talweg.worker.models._layers import LAYERS
from talweg.worker.models._shared import share_answers

__all__ = [
    "LAYERS",
    "MODELS",
    "SIDES",
    "GeneratorAndCritic",
    "HeadShape",
    "VariationalAutoencoder",
    "build",
    "draw",
    "share_answers",
]
