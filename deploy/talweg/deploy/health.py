"""Health check of a service in a container: `python -m talweg.deploy.health server|worker`.

It reads the settings of the service from the environment. Exit status 0 means healthy.
"""

import os
import sys
from pathlib import Path

import grpc

from talweg.spec.local.ready import READY_FILE, read_ready_file

# grpc.health.v1: an empty HealthCheckRequest, and a HealthCheckResponse with the status SERVING.
# They are bytes, since the worker's image has no stubs of that service.
_CHECK, _REQUEST, _SERVING = "/grpc.health.v1.Health/Check", b"", b"\x08\x01"
_SECONDS = 3.0


def server_is_healthy(listen: str) -> bool:
    """Return whether a server on this machine is serving.

    Args:
        listen: The address that it listens on, host:port.
    """
    # It answers on any address of this machine; a proxy would not.
    address = f"127.0.0.1:{listen.rpartition(':')[2]}"
    with _channel(address) as channel:
        check = channel.unary_unary(_CHECK, _same, _same)
        try:
            return bool(check(_REQUEST, timeout=_SECONDS) == _SERVING)
        except grpc.RpcError:
            return False


def _channel(address: str) -> grpc.Channel:
    """Open a channel to the server of this container, encrypted where it has a certificate.

    The certificate must be for 127.0.0.1 too, as those of `talweg cert init` are. Its CA is the
    one that TALWEG_CA_FILE names, or that stands behind it in its own file.
    """
    options = [("grpc.enable_http_proxy", 0)]
    chain = os.environ.get("TALWEG_TLS_CERT_FILE")
    if not chain:
        return grpc.insecure_channel(address, options=options)
    names = ("TALWEG_CA_FILE", "TALWEG_KEY_FILE", "TALWEG_CERT_FILE")
    ca, key, own = (
        Path(os.environ[each]).read_bytes() if os.environ.get(each) else None for each in names
    )
    credentials = grpc.ssl_channel_credentials(ca or Path(chain).read_bytes(), key, own)
    return grpc.secure_channel(address, credentials, options=options)


def worker_is_healthy(ready_file: Path) -> bool:
    """Return whether the process that wrote a ready file is alive."""
    try:
        os.kill(read_ready_file(ready_file).pid, 0)
    except (OSError, ValueError):
        return False
    return True


def main(service: str) -> int:
    """Check one service.

    Args:
        service: "server" or "worker".

    Returns:
        The exit status.

    Raises:
        ValueError: The service is unknown.
    """
    if service == "server":
        is_healthy = server_is_healthy(os.environ.get("TALWEG_LISTEN", "127.0.0.1:7070"))
    elif service == "worker":
        is_healthy = worker_is_healthy(Path(os.environ[READY_FILE]))
    else:
        raise ValueError(f"service must be server or worker, but got {service!r}")
    return 0 if is_healthy else 1


def _same(message: bytes) -> bytes:
    return message


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
