"""How the worker and a job's process speak: JSON objects, each behind its length.

The worker trusts nothing that it reads: a message is bounded, is taken in as it arrives without
waiting for its rest, and never unpickled.
"""

import json
import select
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from talweg.worker.errors import WorkerError

MAX_BYTES = 64 * 2**20
"""Of one message."""
_HEADER = struct.Struct("<I")
_CHUNK = 2**16
# Answers are small: whoever does not read them for so long never will.
_SEND_SECONDS = 10.0


class ProtocolError(WorkerError):
    """The other side said what cannot be said, or says nothing any more."""


class Connection:
    """One end of a socket. One thread reads, one at a time writes."""

    def __init__(self, end: socket.socket) -> None:
        """Take the end; it is closed with this."""
        self._socket = end
        self._buffer = bytearray()
        self.is_closed = False
        """Whether the other side has closed its end, and all was read."""
        self.num_bytes = 0
        """What was received so far."""

    def send(self, **message: Any) -> None:
        """Send a message.

        Raises:
            ProtocolError: The other side is gone, or does not read.
        """
        content = json.dumps(message).encode()
        self._socket.settimeout(_SEND_SECONDS)
        try:
            self._socket.sendall(_HEADER.pack(len(content)) + content)
        except OSError as exc:
            raise ProtocolError(f"the other process does not listen: {exc}") from exc

    def receive(self) -> Mapping[str, Any]:
        """Wait for a message.

        Raises:
            ProtocolError: None will come, or it is none.
        """
        while (message := self.poll(None)) is None:
            if self.is_closed:
                raise ProtocolError("the other process is gone")
        return message

    def poll(self, timeout: float | None) -> Mapping[str, Any] | None:
        """Return the next message; None where none has come in time.

        Args:
            timeout: Seconds to wait for more; None to wait as long as it takes.

        Raises:
            ProtocolError: What came is no message.
        """
        message = self._next()
        if message is not None or self.is_closed:
            return message
        ready, _, _ = select.select([self._socket], [], [], timeout)
        if ready:
            chunk = b""
            with suppress(ConnectionError):
                chunk = self._socket.recv(_CHUNK)
            self.is_closed = not chunk
            self._buffer += chunk
            self.num_bytes += len(chunk)
        return self._next()

    def _next(self) -> Mapping[str, Any] | None:
        if len(self._buffer) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._buffer)
        if length > MAX_BYTES:
            raise ProtocolError(f"a message has {length:,} bytes, and may have {MAX_BYTES:,}")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        content = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        try:
            message = json.loads(content)
        except (ValueError, RecursionError) as exc:
            raise ProtocolError(f"a message is no JSON: {exc}") from exc
        if not isinstance(message, dict):
            raise ProtocolError("a message is no JSON object")
        return message

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
