"""Secrets in files that their owner alone can read."""

import os
import secrets
from pathlib import Path
from typing import Final

TOKEN_METADATA: Final = "authorization"
"""The key of a call's metadata that holds its token."""

TOKEN: Final = "TALWEG_TOKEN"
"""The variable that holds a token."""

TOKEN_FILE: Final = "TALWEG_TOKEN_FILE"
"""The variable that names a file with a token."""

_NUM_BYTES = 32
# As much as a server takes: tokens of an issuer hold the groups of their user.
_MOST_BYTES = 16 * 1024


def read_or_create_secret(path: Path) -> str:
    """Return the secret in a file, which is made with a random one if it does not exist.

    Args:
        path: The file; its folder is made too.

    Raises:
        OSError: It cannot be read or made.
        ValueError: It holds no secret.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    if not path.exists():
        file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as opened:
            opened.write(secrets.token_urlsafe(_NUM_BYTES) + "\n")
        try:
            # Whoever is first wins; nobody sees half of it.
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    return read_secret(path)


def read_secret(path: Path) -> str:
    """Return the secret in a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds no secret: it is empty, too long, or has several lines.
    """
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    try:
        secret = content.decode("ascii").strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(content) > _MOST_BYTES or not secret.isprintable() or " " in secret:
        # Never the content itself.
        raise ValueError(f"{path} must hold one token on one line, and nothing else")
    return secret


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a token; nothing for an empty one."""
    return ((TOKEN_METADATA, f"Bearer {token}"),) if token else ()
