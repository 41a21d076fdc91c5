"""Says whether a service in a container is well: `python -m talweg.deploy.health server|worker`.

It reads the service's own settings from the environment; the exit status is 0 where all is well.
"""

import os
import sys
from pathlib import Path

import grpc

from talweg.spec.ready import READY_FILE, read_ready_file

# grpc.health.v1: an empty HealthCheckRequest; a HealthCheckResponse whose status is SERVING. As
# bytes, since the worker's image has no stubs of that service.
_CHECK, _REQUEST, _SERVING = "/grpc.health.v1.Health/Check", b"", b"\x08\x01"
_SECONDS = 3.0


def server_is_well(listen: str) -> bool:
    """Ask a server on this machine whether it serves.

    Args:
        listen: What it listens on, host:port.
    """
    # Any address of this machine answers there; a proxy would not.
    address = f"127.0.0.1:{listen.rpartition(':')[2]}"
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = channel.unary_unary(_CHECK, _same, _same)
        try:
            return bool(check(_REQUEST, timeout=_SECONDS) == _SERVING)
        except grpc.RpcError:
            return False


def worker_is_well(ready_file: Path) -> bool:
    """Say whether the process that wrote a ready file lives."""
    try:
        os.kill(read_ready_file(ready_file).pid, 0)
    except (OSError, ValueError):
        return False
    return True


def main(service: str) -> int:
    """Ask one service.

    Args:
        service: "server" or "worker".

    Returns:
        The exit status.

    Raises:
        ValueError: Another service.
    """
    if service == "server":
        is_well = server_is_well(os.environ.get("TALWEG_LISTEN", "127.0.0.1:7070"))
    elif service == "worker":
        is_well = worker_is_well(Path(os.environ[READY_FILE]))
    else:
        raise ValueError(f"service must be server or worker, but got {service!r}")
    return 0 if is_well else 1


def _same(message: bytes) -> bytes:
    return message


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
