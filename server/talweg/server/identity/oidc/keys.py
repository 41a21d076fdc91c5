"""The keys that an issuer publishes (JWKS, RFC 7517), and by which algorithms each one signs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError
from jwt.algorithms import AllowedPublicKeys

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_CURVE = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
ALGORITHMS = (*_RSA, *(name for names in _OF_CURVE.values() for name in names))
"""Asymmetric ones alone: whoever knows a public key cannot sign by it."""

# Without the private ones, should an issuer publish those.
_PUBLIC_FIELDS = ("kty", "crv", "n", "e", "x", "y")
_LEAST_RSA_BITS = 2048
_MOST_KEYS = 100


@dataclass(frozen=True)
class PublicKey:
    """A key that an issuer publishes."""

    id: str
    """By which tokens name it; empty if it has no name."""

    key: AllowedPublicKeys
    """The key itself."""

    algorithms: tuple[str, ...]
    """What it may sign by."""


def parse_keys(document: object) -> tuple[PublicKey, ...]:
    """Return the keys of a JWKS that can be used; others are left out.

    Keys to encrypt by, symmetric ones and RSA keys below 2,048 bits cannot be used.

    Args:
        document: The JWKS.

    Raises:
        ValueError: It is no JWKS.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError('a JWKS is an object with the list "keys"')
    return tuple(filter(None, map(_parse_key, listed[:_MOST_KEYS])))


def _parse_key(fields: object) -> PublicKey | None:
    if not isinstance(fields, dict) or fields.get("use", "sig") != "sig":
        return None
    algorithms = _algorithms(fields)
    if not algorithms:
        return None
    public: dict[str, Any] = {name: fields[name] for name in _PUBLIC_FIELDS if name in fields}
    try:
        key = PyJWK(public, algorithm=algorithms[0]).key
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        # One key that cannot be read leaves the others.
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        return None
    id_ = fields.get("kid", "")
    return PublicKey(id_ if isinstance(id_, str) else "", key, algorithms)


def _algorithms(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a key may sign by, as its kind and its own field say."""
    kind, curve = fields.get("kty"), fields.get("crv")
    possible: tuple[str, ...] = ()
    if kind == "RSA":
        possible = _RSA
    elif isinstance(curve, str) and kind == ("OKP" if curve == "Ed25519" else "EC"):
        possible = _OF_CURVE.get(curve, ())
    named = fields.get("alg")
    return possible if named is None else tuple(name for name in possible if name == named)
