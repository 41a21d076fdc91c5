"""Data of your own: files, frames and folders on their way to the server, and what is stored."""

from talweg.client.data._client import DataClient
from talweg.client.data._stored import StoredDataset
from talweg.client.data._uploads import Progress

__all__ = ["DataClient", "Progress", "StoredDataset"]
