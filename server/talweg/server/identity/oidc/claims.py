"""What a token of an issuer says, without and with its signature checked."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import jwt

from talweg.server.errors import Unauthenticated
from talweg.server.identity.oidc.keys import ALGORITHMS, PublicKey

LEEWAY_S = 30
"""How far the clocks of issuer and server may differ, in seconds."""

_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_REQUIRED = ["exp", "iss", "aud", "sub"]
_MOST_SUBJECT_CHARS = 255
_MOST_DESCRIPTION_CHARS = 200
_ECHOED_CHARS = 120

Claims = dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """What a token must be to hold."""

    issuer: str
    """Who signed it."""

    audiences: tuple[str, ...]
    """Whom it is for: one of them."""


def peek(text: str) -> tuple[Claims, Claims] | None:
    """Return header and claims of a token without checking anything; None if it is no JWT.

    Args:
        text: The token.
    """
    parts = text.split(".")
    if len(parts) != 3:
        return None
    read = [_json(part) for part in parts[:2]]
    header, claims = read
    return None if header is None or claims is None or "alg" not in header else (header, claims)


def check_outside(header: Claims, claims: Claims, rules: Rules) -> None:
    """Refuse what no key could make hold, before keys are looked for.

    Args:
        header: The token's.
        claims: The token's, which anybody may have written.
        rules: What it must be.

    Raises:
        Unauthenticated: It is of another issuer, or signed by what no issuer may sign by.
    """
    algorithm, kind = header["alg"], header.get("typ", "JWT")
    if algorithm not in ALGORITHMS:
        raise Unauthenticated(
            f"the token is signed by {_echo(algorithm)}, but must be by one of "
            f"{', '.join(ALGORITHMS)}"
        )
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Unauthenticated(
            f"the token is of type {_echo(kind)}, but must be an ID token or an access token"
        )
    if claims.get("iss") != rules.issuer:
        raise Unauthenticated(
            f"the token is of issuer {_echo(claims.get('iss'))}, but this server takes those of "
            f"{rules.issuer!r}"
        )


def verified(text: str, keys: Sequence[PublicKey], rules: Rules) -> Claims | None:
    """Return the claims of a token that one of the keys has signed, and that holds now.

    Args:
        text: The token.
        keys: The keys that may have signed it.
        rules: What else it must be.

    Returns:
        The claims; None if none of the keys has signed it.

    Raises:
        Unauthenticated: It is signed, but does not hold.
    """
    for each in keys:
        try:
            claims: Claims = jwt.decode(
                text,
                each.key,
                algorithms=each.algorithms,
                issuer=rules.issuer,
                audience=rules.audiences,
                leeway=LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError):
            continue
        except jwt.PyJWTError as exc:
            raise Unauthenticated(_explained(exc, text, rules)) from exc
        return claims
    return None


def _explained(error: jwt.PyJWTError, text: str, rules: Rules) -> str:
    """Return why a token with a good signature does not hold."""
    _, claims = peek(text) or ({}, {})
    again = f"get a new one from {rules.issuer}"
    match error:
        case jwt.ExpiredSignatureError():
            return f"the token has expired, at {_moment(claims.get('exp'))}: {again}"
        case jwt.ImmatureSignatureError():
            return (
                "the token is not valid yet: the clocks of its issuer and of the server must not "
                f"differ by more than {LEEWAY_S} s"
            )
        case jwt.InvalidAudienceError():
            return (
                f"the token is for audience {_echo(claims.get('aud'))}, but this server takes "
                f"those for {' or '.join(map(repr, rules.audiences))}: ask the issuer for one"
            )
        case jwt.MissingRequiredClaimError():
            return f"the token has no claim {error.claim!r}: {again}"
    return f"the token cannot be read: {again}"


def user_name(claims: Claims) -> str:
    """Return the name of a token's user, users/{subject}, which the issuer gives to nobody else.

    Args:
        claims: Of the token.

    Raises:
        Unauthenticated: The subject is empty, or too long.
    """
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _MOST_SUBJECT_CHARS:
        raise Unauthenticated(
            f"the claim 'sub' of the token must have 1 to {_MOST_SUBJECT_CHARS} characters"
        )
    # Two subjects stay two, whatever characters they hold.
    return f"users/{quote(subject, safe='@:|+=')}"


def description(claims: Claims) -> str:
    """Return what people know a user by: an address that is not unverified, a name, the subject.

    Args:
        claims: Of the token.
    """
    names = ["preferred_username", "name", "sub"]
    if claims.get("email_verified", True) in (True, "true"):
        names.insert(0, "email")
    text = next(each for name in names if isinstance(each := claims.get(name), str) and each)
    # It goes to an admin's terminal.
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:_MOST_DESCRIPTION_CHARS])


def groups(claims: Claims, name: str) -> Sequence[str]:
    """Return the groups in a token.

    Args:
        claims: Of the token.
        name: Of the claim. Where there is none of this name, dots lead into objects:
            realm_access.roles.
    """
    value: object = claims.get(name)
    if name not in claims:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, str)]


def _json(part: str) -> Claims | None:
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _echo(value: object) -> str:
    """Return what a token says, for its sender."""
    text = repr(value)
    return text if len(text) <= _ECHOED_CHARS else text[:_ECHOED_CHARS] + "…"


def _moment(value: object) -> str:
    try:
        moment = datetime.fromtimestamp(int(value), UTC)  # type: ignore[call-overload]
    except (ValueError, TypeError, OverflowError, OSError):
        return "a time that cannot be read"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
