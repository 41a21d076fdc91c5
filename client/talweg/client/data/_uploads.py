"""Sending a file: in chunks, from where an earlier try broke off."""

from collections.abc import Callable, Iterator

from talweg.client._connection import Connection
from talweg.client._errors import TalwegError, is_passing
from talweg.client.data._sources import Source
from talweg.spec.local.allocation import keep_freed_blocks
from talweg.v1 import stored_datasets_pb2 as pb
from talweg.v1.datasets_pb2 import ReadOptions

Progress = Callable[[int, int], None]
"""Called with the bytes that have been sent, and those of the whole file."""

_CHUNK = 1024 * 1024
# The process may be the user's own: what is sent in no time changes nothing there.
_LARGE = 64 * _CHUNK
_MOVED = "UPLOAD_OUT_OF_PLACE"


def send(
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
        start = connection.call(connection.stored.GetUpload, request).offset
        if start > furthest:
            retries.restart()
            furthest = start
        messages = _messages(header, source, start, on_progress)
        try:
            return connection.send(connection.stored.UploadStoredDataset, messages)
        except TalwegError as error:
            # Another upload of the same file may have moved on meanwhile, or a connection broke.
            may_retry = is_passing(error) or error.reason == _MOVED
            if not may_retry or not retries.wait(error):
                raise


def _messages(
    header: pb.UploadHeader, source: Source, start: int, on_progress: Progress | None
) -> Iterator[pb.UploadStoredDatasetRequest]:
    yield pb.UploadStoredDatasetRequest(header=header)
    if on_progress is not None:
        on_progress(start, source.num_bytes)
    with source.path.open("rb") as file:
        file.seek(start)
        while data := file.read(_CHUNK):
            # Not from a message of its own, which would be copied.
            request = pb.UploadStoredDatasetRequest()
            request.chunk.offset, request.chunk.data = start, data
            yield request
            start += len(data)
            if on_progress is not None:
                on_progress(start, source.num_bytes)
