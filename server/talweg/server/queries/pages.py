"""Page tokens: where a list goes on, and for which arguments."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from talweg.server.errors import BadPageToken, FieldProblem

_VERSION = 1


def encode(place: Sequence[str | int], arguments: Sequence[str]) -> str:
    """Make a page token.

    Args:
        place: Where the last item stands in the order.
        arguments: What must stay the same from page to page.
    """
    content = {"v": _VERSION, "a": _digest(arguments), "p": list(place)}
    data = json.dumps(content, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode(token: str, arguments: Sequence[str], kinds: Sequence[type]) -> list[str | int]:
    """Read a page token.

    Args:
        token: What `encode` gave.
        arguments: Those of this call.
        kinds: What a place in this order is made of.

    Returns:
        The place.

    Raises:
        BadPageToken: It is not such a token, or was given for other arguments.
    """
    try:
        padded = token + "=" * (-len(token) % 4)
        content = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        version, digest, place = content["v"], content["a"], content["p"]
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise _refused("was not issued by this service") from exc
    if version != _VERSION:
        raise _refused("was issued by another version of this service: start again without it")
    if digest != _digest(arguments):
        raise _refused(
            "was issued for other arguments, such as another filter or order_by: repeat the same "
            "arguments, or start again without it"
        )
    if not isinstance(place, list) or [type(part) for part in place] != list(kinds):
        raise _refused("was not issued by this service")
    if not all(map(_fits_the_database, place)):
        raise _refused("was not issued by this service")
    return place


def _fits_the_database(part: str | int) -> bool:
    if isinstance(part, int):
        return abs(part) < 2**63
    # JSON can name half a character, which is no UTF-8.
    return "\0" not in part and not any("\ud800" <= character <= "\udfff" for character in part)


def _digest(arguments: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(arguments)).encode()).hexdigest()[:16]


def _refused(description: str) -> BadPageToken:
    return BadPageToken(
        f"page_token {description}", fields=[FieldProblem("page_token", description)]
    )
