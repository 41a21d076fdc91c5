"""Health check of a service in a container: `python -m talweg.deploy.health server|worker`.

It reads the settings of the service from the environment. Exit status 0 means healthy.
"""

import os
import sys
from pathlib import Path

import grpc

from talweg.spec.ready import READY_FILE, read_ready_file

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
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = channel.unary_unary(_CHECK, _same, _same)
        try:
            return bool(check(_REQUEST, timeout=_SECONDS) == _SERVING)
        except grpc.RpcError:
            return False


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
