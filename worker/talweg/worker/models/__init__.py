"""Networks, built from their messages."""

from talweg.worker.models._build import MODELS, build
from talweg.worker.models._layers import LAYERS

__all__ = ["LAYERS", "MODELS", "build"]
