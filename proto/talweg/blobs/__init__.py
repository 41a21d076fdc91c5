"""The blob store, which server and workers share: checkpoints, models, stored data sets."""

from talweg.blobs.store import Blobs, UnsafePathError, is_of_one_file

__all__ = ["Blobs", "UnsafePathError", "is_of_one_file"]
