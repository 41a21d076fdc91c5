"""The profile of `talweg login`: a server, and what it is shown."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from talweg.client.identity import _keyring
from talweg.spec.identity.security import Security, checked_token
from talweg.spec.local.whole_files import write_whole

_FILE = "profile.json"


@dataclass(frozen=True)
class Profile:
    """A server, and what it is shown."""

    address: str
    """HOST:PORT."""

    token: str = field(default="", repr=False)
    """The token; empty for none, and if the system's keyring holds it."""

    in_keyring: bool = False
    """Whether the system's keyring holds the token."""

    use_tls: bool = False
    """Whether calls are encrypted."""

    ca_file: str = ""
    """The CA of the server's certificate; empty for those of the system."""

    project: str = ""
    """The project to act in; empty for the token's own."""

    may_be_plain: bool = False
    """Whether the token may travel to another machine without TLS."""

    def completed(self, security: Security) -> Security:
        """Return what the environment says, and the profile's where it says nothing.

        Raises:
            ValueError: The system's keyring holds the token, and cannot be read.
        """
        if not security.use_tls and self.use_tls:
            ca_file = Path(self.ca_file) if self.ca_file else None
            security = replace(security, use_tls=True, ca_file=ca_file)
        token = security.token or self.token
        if not token and self.in_keyring:
            token = checked_token(_keyring.read(self.address))
        return replace(
            security,
            token=token,
            project=security.project or self.project,
            may_be_plain=security.may_be_plain or self.may_be_plain,
        )


def profile_path(environ: Mapping[str, str]) -> Path | None:
    """Return where the profile is; None without a home.

    Args:
        environ: The environment; XDG_CONFIG_HOME or else HOME says where.
    """
    if environ.get("XDG_CONFIG_HOME"):
        return Path(environ["XDG_CONFIG_HOME"]) / "talweg" / _FILE
    home = environ.get("HOME")
    return Path(home) / ".config/talweg" / _FILE if home else None


def read_profile(environ: Mapping[str, str]) -> Profile | None:
    """Return the profile; None if there is none that can be read.

    Args:
        environ: The environment.
    """
    path = profile_path(environ)
    if path is None:
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Profile(**facts) if isinstance(facts.get("address"), str) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_profile(profile: Profile, environ: Mapping[str, str]) -> Path:
    """Write the profile, for its owner's eyes alone.

    Args:
        profile: The profile.
        environ: The environment.

    Returns:
        Where it is.

    Raises:
        OSError: It cannot be written, or there is no home.
    """
    path = profile_path(environ)
    if path is None:
        raise FileNotFoundError("neither XDG_CONFIG_HOME nor HOME says where a profile belongs")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, json.dumps(vars(profile), indent=2) + "\n")
    return path


def remove_profile(environ: Mapping[str, str]) -> bool:
    """Remove the profile; return whether there was one.

    Args:
        environ: The environment.
    """
    path = profile_path(environ)
    if path is None or not path.exists():
        return False
    path.unlink()
    return True
