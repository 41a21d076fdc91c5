"""How a program shows a server who it is, and knows that it is the right one.

Clients and workers read the same variables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from talweg.spec.identity.projects import PROJECT_METADATA, PROJECT_RULE, is_project
from talweg.spec.identity.secrets import TOKEN, TOKEN_FILE, bearer, read_secret
from talweg.spec.local.flags import read_flag

if TYPE_CHECKING:
    import grpc

PROJECT: Final = "TALWEG_PROJECT"
CA_FILE: Final = "TALWEG_CA_FILE"
CERT_FILE: Final = "TALWEG_CERT_FILE"
KEY_FILE: Final = "TALWEG_KEY_FILE"
TLS: Final = "TALWEG_TLS"
INSECURE: Final = "TALWEG_INSECURE"
GRPC_SCHEMES: Final = ("unix:", "dns:", "ipv4:", "ipv6:")


@dataclass(frozen=True)
class Security:
    """What a program shows a server, and by what it knows it."""

    token: str = field(default="", repr=False)
    """TALWEG_TOKEN: the token; empty for none."""

    token_file: Path | None = None
    """TALWEG_TOKEN_FILE: a file that holds the token, where TALWEG_TOKEN does not."""

    project: str = ""
    """TALWEG_PROJECT: the project to act in, for a token of all projects; empty for the token's
    own."""

    use_tls: bool = False
    """TALWEG_TLS: 1 to encrypt calls, and to trust the CAs of the system."""

    ca_file: Path | None = None
    """TALWEG_CA_FILE: the CA of the server's certificate, in PEM; calls are encrypted then."""

    cert_file: Path | None = None
    """TALWEG_CERT_FILE: a certificate of one's own, in PEM, for mutual TLS."""

    key_file: Path | None = None
    """TALWEG_KEY_FILE: the private key of that certificate."""

    may_be_plain: bool = False
    """TALWEG_INSECURE: 1 to let the token travel to another machine without encryption."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Security":
        """Read the variables; one that is empty counts as not set.

        Args:
            env: The environment.

        Raises:
            ValueError: The token's file holds no token, the project cannot be one, or a flag is
                neither on nor off.
            OSError: The token's file cannot be read.
        """
        token, token_file = env.get(TOKEN) or "", _path(env, TOKEN_FILE)
        if not token and token_file is not None:
            token = read_secret(token_file)
        ca_file = _path(env, CA_FILE)
        return cls(
            token=checked_token(token),
            token_file=token_file,
            project=checked_project(env.get(PROJECT) or ""),
            use_tls=read_flag(env, TLS) or ca_file is not None,
            ca_file=ca_file,
            cert_file=_path(env, CERT_FILE),
            key_file=_path(env, KEY_FILE),
            may_be_plain=read_flag(env, INSECURE),
        )

    @cached_property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries."""
        project = ((PROJECT_METADATA, self.project),) if self.project else ()
        return (*bearer(self.token), *project)

    def channel_credentials(self) -> "grpc.ChannelCredentials | None":
        """Return what a channel is secured by; None without TLS.

        Raises:
            OSError: A file cannot be read.
            ValueError: It holds something else.
        """
        if not self.use_tls:
            return None
        import grpc  # noqa: PLC0415 - reading settings needs no gRPC

        return grpc.ssl_channel_credentials(
            _pem(self.ca_file, "CERTIFICATE", "the certificate of the CA"),
            _pem(self.key_file, "PRIVATE KEY", "the private key"),
            _pem(self.cert_file, "CERTIFICATE", "the certificate"),
        )

    def check(self, address: str) -> None:
        """Check that the token does not travel where others can read it.

        Args:
            address: The server's.

        Raises:
            ValueError: It would.
        """
        if self.token and not (self.use_tls or self.may_be_plain or is_loopback(address)):
            raise ValueError(
                f"the token would travel to {address} without encryption: set {CA_FILE} to the "
                f"CA of the server's certificate (or {TLS}=1 for one that the system knows). In a "
                f"network that is protected otherwise, {INSECURE}=1 sends it all the same"
            )


def is_loopback(address: str) -> bool:
    """Return whether an address of gRPC is surely on this machine.

    Args:
        address: Such as 127.0.0.1:7070.
    """
    if address.startswith("unix:"):
        return True
    scheme, colon, target = address.partition(":")
    if not (colon and f"{scheme}:" in GRPC_SCHEMES):
        target = address
    # In dns://authority/host:port the host stands last.
    host = target.rpartition("/")[2].lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(unquote(host)).is_loopback
    except ValueError:
        return False


def checked_token(token: str) -> str:
    """Return a token that can travel in metadata.

    Raises:
        ValueError: It holds other characters than a token may.
    """
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        # Never the token itself.
        raise ValueError("a token consists of printable ASCII characters without spaces")
    return token


def checked_project(project: str) -> str:
    """Return a name that a project can have; the empty one stands for none.

    Raises:
        ValueError: No project can have it.
    """
    if project and not is_project(project):
        raise ValueError(f"a project's name {PROJECT_RULE}, but got {project[:60]!r}")
    return project


def _path(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]) if env.get(name) else None


def _pem(path: Path | None, kind: str, what: str) -> bytes | None:
    """Return what a file of PEM holds; gRPC would take another file, and then reach nobody.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds something else.
    """
    if path is None:
        return None
    content = path.read_bytes()
    if f"{kind}-----".encode() not in content:
        raise ValueError(f"{path} must hold {what} in PEM, with a line BEGIN {kind}")
    return content
