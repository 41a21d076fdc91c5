"""Data sets: loaded, divided, preprocessed and kept for the next job of this process."""

from talweg.worker.data.bundle import DataBundle, DataSplit, Inputs, StandardScaler, StoredInfo
from talweg.worker.data.gaussian_ring import ring_centres
from talweg.worker.data.loaders import LOADERS
from talweg.worker.data.loading import DIVIDED, load
from talweg.worker.data.plugin.source import warnings_of
from talweg.worker.data.raw import RawData

__all__ = [
    "DIVIDED",
    "LOADERS",
    "DataBundle",
    "Inputs",
    "DataSplit",
    "RawData",
    "StandardScaler",
    "StoredInfo",
    "load",
    "ring_centres",
    "warnings_of",
]
