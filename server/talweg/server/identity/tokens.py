"""What a token looks like, and what of it is kept.

A token is `talweg_{id}_{secret}`. The id names its row; of the secret, 256 random bits, the record
keeps HMAC-SHA256 under a key that lies outside the record: a copy of the database is of no use to
make a token, nor to find one.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

_FORM = re.compile(r"talweg_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class TokenParts:
    """A token in its parts."""

    id: str
    secret: str

    @property
    def text(self) -> str:
        """What callers send."""
        return f"talweg_{self.id}_{self.secret}"


def new_token() -> TokenParts:
    """Return a random token."""
    return TokenParts(secrets.token_hex(8), secrets.token_urlsafe(32))


def parse_token(text: str) -> TokenParts | None:
    """Return the parts of a token; None if it is none of this service."""
    match = _FORM.fullmatch(text)
    return TokenParts(match[1], match[2]) if match else None


def hashed(secret: str, *, key: str) -> bytes:
    """Return what the record keeps of a secret.

    Args:
        secret: The secret.
        key: The server's key.
    """
    return hmac.digest(key.encode(), secret.encode(), hashlib.sha256)


def is_same(one: bytes, other: bytes) -> bool:
    """Compare without telling by the time it takes how much of it is alike."""
    return hmac.compare_digest(one, other)
