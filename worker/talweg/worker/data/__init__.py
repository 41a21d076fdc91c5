"""Data sets: loaded, divided, preprocessed and kept for the next job of this process."""

from talweg.worker.data._bundle import DataBundle, Inputs, Part, Scaler
from talweg.worker.data._load import DIVIDED, load
from talweg.worker.data._loaders import LOADERS, RawData
from talweg.worker.data._measures import MEASURES, measure
from talweg.worker.data._ring import ring_centres

__all__ = [
    "DIVIDED",
    "LOADERS",
    "MEASURES",
    "DataBundle",
    "Inputs",
    "Part",
    "RawData",
    "Scaler",
    "load",
    "measure",
    "ring_centres",
]
