"""Checkpoints: one run's snapshots as files in the blob store.

`files` writes and reads one, `blobs` is the store that they stand in, and `keeper` decides what is
kept and agrees on it with the server's record.
"""

from talweg.worker.checkpoints.blobs import Blobs
from talweg.worker.checkpoints.files import DamagedError
from talweg.worker.checkpoints.keeper import CheckpointKeeper

__all__ = ["Blobs", "CheckpointKeeper", "DamagedError"]
