"""Find the server: an argument, an environment variable, or a local stack."""

import errno
import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from itertools import chain
from pathlib import Path

from talweg.client._errors import HOW_TO_START, Unavailable
from talweg.client._profile import read_profile
from talweg.spec.identity.secrets import read_secret
from talweg.spec.identity.security import (
    GRPC_SCHEMES,
    Security,
    checked_project,
    checked_token,
    is_loopback,
)
from talweg.spec.local.data_folder import ADMIN_TOKEN, TRACKING_TOKEN
from talweg.spec.local.stackfile import STACK_FILE, last_stack_file, stacks_folder

DEFAULT_PORT = 7070

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?::(?P<port>\d{1,5}))?")
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
# gRPC itself does not read the last, which most other programs do.
_EXEMPTING = ("no_grpc_proxy", "no_proxy", "NO_PROXY")


@dataclass(frozen=True)
class ServerAddress:
    """The address of a server."""

    address: str
    """In the form of gRPC, such as ``127.0.0.1:7070``."""

    security: Security = Security()
    """What the server is shown, and by what it is known."""

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where no proxy may be used."""
        return is_loopback(self.address)

    def proxy(self, environ: Mapping[str, str] | None = None) -> str:
        """Return the variable that names the proxy to the server; empty where none is used.

        Args:
            environ: The environment; that of the process if None.
        """
        environ = os.environ if environ is None else environ
        if self.is_loopback:
            return ""
        exempt = next(filter(None, map(environ.get, _EXEMPTING)), "")
        host = self.address.rpartition("/")[2].rpartition(":")[0].strip("[]")
        if any(_covers(rule, host) for each in exempt.split(",") if (rule := each.strip())):
            return ""
        return next((name for name in _PROXIES if environ.get(name)), "")


def _covers(rule: str, host: str) -> bool:
    """Return whether a rule of no_proxy is about a host: *, a network, or the end of its name."""
    if rule == "*":
        return True
    if "/" in rule:
        with suppress(ValueError):
            return ip_address(host) in ip_network(rule, strict=False)
        return False
    return host.endswith(rule)


def find(
    address: str | None = None,
    *,
    token: str | None = None,
    project: str | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    tls: bool = False,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> ServerAddress:
    """Find the server, and what it is to be shown.

    The first of `address`, TALWEG_ADDRESS, $TALWEG_DATA/stack.json, .talweg/stack.json in
    `folder`, the profile that `talweg login` has written, and the stack.json of the stack that was
    started last. A stack.json whose process has ended is skipped.

    The token is the first of `token`, TALWEG_TOKEN, TALWEG_TOKEN_FILE, that of the profile for its
    own server, and that in the data folder of a stack on this machine.

    Args:
        address: HOST:PORT, or HOST alone for port 7070.
        token: The token.
        project: The project to act in, for a token of all projects.
        ca_file: The CA of the server's certificate.
        tls: Encrypt calls, and trust the CAs of the system where no CA is named.
        environ: The environment; that of the process if None.
        folder: The folder; the working directory if None.

    Raises:
        ValueError: An address is not HOST:PORT, a token or a project cannot be one, or the token
            would travel to another machine without encryption; or the system's keyring, where
            `talweg login` has put the token, cannot be read.
        OSError: The file that TALWEG_TOKEN_FILE names cannot be read.
        Unavailable: No running server is known; the message lists where it was looked for.
    """
    environ = os.environ if environ is None else environ
    server = _find_address(address, environ, Path.cwd() if folder is None else folder)
    security = Security.from_env(environ)
    if ca_file is not None:
        security = replace(security, use_tls=True, ca_file=Path(ca_file))
    elif tls:
        security = replace(security, use_tls=True)
    if token:
        security = replace(security, token=checked_token(token))
    profile = read_profile(environ)
    if profile is not None and profile.address == server.address:
        security = profile.completed(security)
    if not security.token and server.is_loopback:
        server = _by_number(server, environ, folder)
        security = replace(security, token=_local_token(server.address, environ, folder))
    if project:
        security = replace(security, project=checked_project(project))
    security.check(server.address)
    return replace(server, security=security)


def _find_address(address: str | None, environ: Mapping[str, str], folder: Path) -> ServerAddress:
    if address:
        return ServerAddress(check(address))
    if environ.get("TALWEG_ADDRESS"):
        return ServerAddress(check(environ["TALWEG_ADDRESS"]))
    looked_at = ["TALWEG_ADDRESS (not set)"]
    for path in _near_stack_files(environ, folder):
        address_or_reason = _read(path)
        if isinstance(address_or_reason, ServerAddress):
            return address_or_reason
        looked_at.append(f"{path} ({address_or_reason})")
    profile = read_profile(environ)
    if profile is not None:
        return ServerAddress(check(profile.address))
    last = last_stack_file(environ)
    if last is not None:
        address_or_reason = _read(last)
        if isinstance(address_or_reason, ServerAddress):
            return address_or_reason
        looked_at.append(f"{last} ({address_or_reason})")
    raise Unavailable(
        f"no server is known. Tried {', '.join(looked_at)}. {HOW_TO_START}",
        reason="NO_ADDRESS",
    )


def _by_number(
    server: ServerAddress, environ: Mapping[str, str], folder: Path | None
) -> ServerAddress:
    """Return the address of this user's stack where its port of localhost is meant.

    The name may lead to the port of ::1 first, which can be another user's: the stack's token is
    for the address that the stack itself has.
    """
    host, _, port = server.address.rpartition(":")
    if host != "localhost":
        return server
    near = _stack_files(environ, Path.cwd() if folder is None else folder)
    for stack in _running(chain(near, _registered())):
        if stack.data and is_loopback(stack.server) and stack.server.endswith(f":{port}"):
            return ServerAddress(stack.server)
    return server


def _local_token(address: str, environ: Mapping[str, str], folder: Path | None) -> str:
    """Return the token of a stack on this machine; empty if it has none for this user."""
    near = _stack_files(environ, Path.cwd() if folder is None else folder)
    for stack in _running(chain(near, _registered())):
        if stack.server == address and stack.data:
            with suppress(OSError, ValueError):
                return read_secret(Path(stack.data) / ADMIN_TOKEN)
    return ""


@dataclass(frozen=True)
class LocalStack:
    """A stack that runs on this machine, as its stack.json says."""

    pid: int
    """The process of `talweg up`."""
    server: str
    """HOST:PORT of its server."""
    tracking: str
    """The address of its MLflow; empty if the file does not say."""
    pages: str
    """Where browsers find the pages of an MLflow that is its own; empty if it has none."""
    needs_token: bool
    """Whether that asks this user too for its token, or a link with it."""
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
    """Return the running stacks of this machine that are known here, the nearest first.

    Args:
        environ: The environment; that of the process if None.
        folder: The folder; the working directory if None.
    """
    environ = os.environ if environ is None else environ
    return _running(_stack_files(environ, Path.cwd() if folder is None else folder))


def _running(paths: Iterable[Path]) -> Iterator[LocalStack]:
    """Yield the stacks of stack files whose processes run."""
    known: set[int] = set()
    for path in paths:
        try:
            facts = json.loads(_own_text(path))
            stack = LocalStack(
                int(facts["pid"]),
                check(facts["server"]),
                str(facts.get("tracking", "")),
                str(facts.get("tracking_pages", "")),
                bool(facts.get("tracking_needs_token", True)),
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


def stack_of_mlflow(base: str) -> LocalStack | None:
    """Return the stack of this user on this machine that an MLflow belongs to; None if none does.

    Args:
        base: The address of the MLflow, as programs or as browsers find it.
    """
    for stack in _running(chain(_stack_files(os.environ, Path.cwd()), _registered())):
        if stack.pages and base.rstrip("/") in (stack.tracking, stack.pages):
            return stack
    return None


def mlflow_token(stack: LocalStack) -> str:
    """Return the token that the MLflow of a stack asks for; empty if it cannot be read."""
    with suppress(OSError, ValueError):
        return read_secret(Path(stack.data) / TRACKING_TOKEN)
    return ""


def check(address: str) -> str:
    """Check an address and add the default port if it has none.

    Raises:
        ValueError: It is not HOST:PORT.
    """
    if address.startswith(GRPC_SCHEMES):
        return address
    match = _HOST_PORT.fullmatch(address.strip())
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ValueError(f"address must be HOST:PORT, such as 127.0.0.1:7070, but got {address!r}")
    return f"{match['host']}:{match['port'] or DEFAULT_PORT}"


def _near_stack_files(environ: Mapping[str, str], folder: Path) -> Iterator[Path]:
    if environ.get("TALWEG_DATA"):
        yield Path(environ["TALWEG_DATA"]) / STACK_FILE
    yield folder / ".talweg" / STACK_FILE


def _stack_files(environ: Mapping[str, str], folder: Path) -> Iterator[Path]:
    yield from _near_stack_files(environ, folder)
    last = last_stack_file(environ)
    if last is not None:
        yield last


def _registered() -> Iterator[Path]:
    """Yield the stack files of all running stacks of this user."""
    folder = stacks_folder()
    if folder is not None:
        yield from folder.glob("*.json")


def _read(path: Path) -> ServerAddress | str:
    """Return the address of the server, or why there is none."""
    try:
        facts = json.loads(_own_text(path))
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


def _own_text(path: Path) -> str:
    """Return the text of a stack file that nobody else can have written.

    Whoever could put one into a folder where others work would be sent their tokens.

    Raises:
        PermissionError: It is of another user, or others may write it.
        OSError: It cannot be read.
    """
    with path.open(encoding="utf-8") as file:
        found = os.fstat(file.fileno())
        if hasattr(os, "getuid") and (
            found.st_uid not in (os.getuid(), 0) or stat.S_IMODE(found.st_mode) & 0o022
        ):
            raise PermissionError(errno.EPERM, "of another user, or others may write it")
        return file.read()


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
