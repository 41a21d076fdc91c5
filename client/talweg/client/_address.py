"""Find the server: an argument, an environment variable, or a local stack."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote

from talweg.client._errors import HOW_TO_START, Unavailable
from talweg.spec.stackfile import STACK_FILE, last_stack_file

DEFAULT_PORT = 7070

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?::(?P<port>\d{1,5}))?")
_GRPC_SCHEMES = ("unix:", "dns:", "ipv4:", "ipv6:")
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")


@dataclass(frozen=True)
class ServerAddress:
    """The address of a server."""

    address: str
    """In the form of gRPC, such as ``127.0.0.1:7070``."""

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where no proxy may be used."""
        if self.address.startswith("unix:"):
            return True
        scheme, colon, target = self.address.partition(":")
        if not (colon and f"{scheme}:" in _GRPC_SCHEMES):
            target = self.address
        # In dns://authority/host:port the host stands last.
        host = target.rpartition("/")[2].lower()
        host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ip_address(unquote(host)).is_loopback
        except ValueError:
            return False

    def proxy(self, environ: Mapping[str, str] | None = None) -> str:
        """Return the variable that names the proxy to the server; empty where none is used.

        Args:
            environ: The environment; that of the process if None.
        """
        environ = os.environ if environ is None else environ
        if self.is_loopback:
            return ""
        # As gRPC looks for them: names of hosts count by their ends.
        exempt = environ.get("no_grpc_proxy") or environ.get("no_proxy") or ""
        host = self.address.rpartition("/")[2].rpartition(":")[0]
        if any(host.endswith(end) for each in exempt.split(",") if (end := each.strip())):
            return ""
        return next((name for name in _PROXIES if environ.get(name)), "")


def find(
    address: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> ServerAddress:
    """Find the server.

    The first of `address`, TALWEG_ADDRESS, $TALWEG_DATA/stack.json, .talweg/stack.json in
    `folder`, and the stack.json of the stack that was started last. A stack.json whose process
    has ended is skipped.

    Args:
        address: HOST:PORT, or HOST alone for port 7070.
        environ: The environment; that of the process if None.
        folder: The folder; the working directory if None.

    Raises:
        ValueError: An address is not HOST:PORT.
        Unavailable: No running server is known; the message lists where it was looked for.
    """
    environ = os.environ if environ is None else environ
    if address:
        return ServerAddress(check(address))
    if environ.get("TALWEG_ADDRESS"):
        return ServerAddress(check(environ["TALWEG_ADDRESS"]))
    looked_at = ["TALWEG_ADDRESS (not set)"]
    for path in _stack_files(environ, Path.cwd() if folder is None else folder):
        address_or_reason = _read(path)
        if isinstance(address_or_reason, ServerAddress):
            return address_or_reason
        looked_at.append(f"{path} ({address_or_reason})")
    raise Unavailable(
        f"no server is known. Tried {', '.join(looked_at)}. {HOW_TO_START}",
        reason="NO_ADDRESS",
    )


@dataclass(frozen=True)
class LocalStack:
    """A stack that runs on this machine, as its stack.json says."""

    pid: int
    """The process of `talweg up`."""
    server: str
    """HOST:PORT of its server."""
    tracking: str
    """The address of its MLflow; empty if the file does not say."""
    data: str
    """Its data folder; empty if the file does not say."""
    services: Mapping[str, int]
    """The process of each service, by name."""

    def is_running(self, service: str) -> bool:
        """Return whether the process of a service exists."""
        return _is_alive(self.services[service])


def local_stacks(
    *, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[LocalStack]:
    """Yield the running stacks of this machine that are known here, the nearest first.

    Args:
        environ: The environment; that of the process if None.
        folder: The folder; the working directory if None.
    """
    environ = os.environ if environ is None else environ
    known: set[int] = set()
    for path in _stack_files(environ, Path.cwd() if folder is None else folder):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            stack = LocalStack(
                int(facts["pid"]),
                check(facts["server"]),
                str(facts.get("tracking", "")),
                str(facts.get("data", "")),
                {name: int(pid) for name, pid in facts.get("parts", {}).items() if pid},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if stack.pid not in known and _is_alive(stack.pid):
            known.add(stack.pid)
            yield stack


def local_stack(address: str) -> LocalStack | None:
    """Return the stack of this machine with a server; None if there is none.

    Args:
        address: The server's.
    """
    return next((stack for stack in local_stacks() if stack.server == address), None)


def local_tracking(address: str) -> str:
    """Return the address of the MLflow beside a server on this machine; empty if not known.

    Args:
        address: The server's.
    """
    for stack in local_stacks():
        if stack.server == address and stack.tracking.startswith(("http://", "https://")):
            return stack.tracking
    return ""


def check(address: str) -> str:
    """Check an address and add the default port if it has none.

    Raises:
        ValueError: It is not HOST:PORT.
    """
    if address.startswith(_GRPC_SCHEMES):
        return address
    match = _HOST_PORT.fullmatch(address.strip())
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ValueError(f"address must be HOST:PORT, such as 127.0.0.1:7070, but got {address!r}")
    return f"{match['host']}:{match['port'] or DEFAULT_PORT}"


def _stack_files(environ: Mapping[str, str], folder: Path) -> Iterator[Path]:
    if environ.get("TALWEG_DATA"):
        yield Path(environ["TALWEG_DATA"]) / STACK_FILE
    yield folder / ".talweg" / STACK_FILE
    last = last_stack_file(environ)
    if last is not None:
        yield last


def _read(path: Path) -> ServerAddress | str:
    """Return the address of the server, or why there is none."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        pid, server = facts["pid"], facts["server"]
        if not isinstance(pid, int) or not isinstance(server, str):
            raise TypeError("pid must be an integer and server a string")
        address = ServerAddress(check(server))
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return "not the file of a stack"
    return address if _is_alive(pid) else f"its process {pid} has ended"


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    if sys.platform == "win32":
        # Signal 0 means Ctrl-C there; connecting will reveal a dead server.
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
