"""Whether the server's own port takes connections.

gRPC starts threads when it needs them. One that the system refuses is missing for good: the port
is open, and nobody answers there, though this process looks well. What cannot be mended is ended,
to be started anew.
"""

import asyncio
import ssl

# How a connection of HTTP/2 begins: the preface, and SETTINGS without a setting.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HEADER_BYTES = 9
_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}


async def answers(address: str, *, is_secured: bool, seconds: float) -> bool:
    """Return whether somebody speaks HTTP/2, or at least TLS, at an address of this machine.

    Args:
        address: host:port; of a Unix socket nothing is asked.
        is_secured: Whether it takes TLS alone.
        seconds: How long an answer may take.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return True
    host = _THIS_MACHINE.get(host, host.strip("[]"))
    try:
        async with asyncio.timeout(seconds):
            return await _is_greeted(host, int(port), is_secured)
    except TimeoutError:
        return False
    except (OSError, asyncio.IncompleteReadError):
        # It asks for a certificate, say, or this process may open no further file: no silence.
        return True


async def _is_greeted(host: str, port: int, is_secured: bool) -> bool:
    secured = _any_certificate() if is_secured else None
    reader, writer = await asyncio.open_connection(host, port, ssl=secured)
    try:
        writer.write(_HELLO)
        await reader.readexactly(_HEADER_BYTES)
        return True
    finally:
        # Not closed in good order: TLS would wait for the peer's good-bye, which does not come.
        writer.transport.abort()


def _any_certificate() -> ssl.SSLContext:
    # Nothing is told, and nothing is believed.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
