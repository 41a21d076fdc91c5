# Made by client/make_asyncio.py from ../../data/_uploads.py: change that module.
"""Sending a file: in chunks, from where an earlier try broke off."""

from talweg.client._errors import TalwegError, is_passing
from talweg.client.aio._connection import Connection
from talweg.client.data._sources import Source
from talweg.client.data._uploads import _LARGE, _MOVED, Progress, _messages
from talweg.spec.local.allocation import keep_freed_blocks
from talweg.v1 import stored_datasets_pb2 as pb
from talweg.v1.datasets_pb2 import ReadOptions


async def send(
    connection: Connection,
    source: Source,
    *,
    name: str,
    options: ReadOptions,
    validate_only: bool = False,
    on_progress: Progress | None = None,
) -> pb.StoredDataset:
    """Upload a file, and return the data set that the server has made of it.

    A connection that breaks is tried again, within the client's patience, from where the server
    has got to.

    Args:
        connection: To the server.
        source: The file.
        name: What the data set is to be called.
        options: How to read the file.
        validate_only: Store nothing.
        on_progress: Told about every chunk.

    Raises:
        InvalidRequest: The content cannot be read; with all problems and their places.
        TalwegError: Another error of the server, or Unavailable.
        OSError: The file cannot be read.
    """
    if source.num_bytes >= _LARGE:
        keep_freed_blocks()
    header = pb.UploadHeader(
        name=name,
        file_name=source.file_name,
        sha256=source.sha256,
        num_bytes=source.num_bytes,
        options=options,
        validate_only=validate_only,
    )
    retries, furthest = connection.retries(), 0
    while True:
        request = pb.GetUploadRequest(
            sha256=source.sha256,
            num_bytes=source.num_bytes,
            file_name=source.file_name,
            options=options,
        )
        start = (await connection.call(connection.stored.GetUpload, request)).offset
        if start > furthest:
            retries.restart()
            furthest = start
        messages = _messages(header, source, start, on_progress)
        try:
            return await connection.send(connection.stored.UploadStoredDataset, messages)
        except TalwegError as error:
            # Another upload of the same file may have moved on meanwhile, or a connection broke.
            may_retry = is_passing(error) or error.reason == _MOVED
            if not may_retry or not await retries.wait(error):
                raise
