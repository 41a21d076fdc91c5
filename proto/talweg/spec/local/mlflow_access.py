"""How the MLflow of `talweg up` is opened: by its user, by its token, by a link, or by a cookie.

Linux tells whose programs connect, and lets their browser in by the address alone (`needs_token`).

Elsewhere the token counts, which stands in the data folder. Programs send it as a bearer token. A
link to a page carries what is made of it and holds for a day (`with_link_token`); a browser that
comes by one gets a cookie, and needs no more. None of the two tells the token.
"""

import base64
import hashlib
import hmac
import os
import sys
import time
from typing import Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

LINK_FIELD: Final = "token"
"""The field of a link's query that holds its token."""

LINK_SECONDS: Final = 24 * 3600
"""How long a link opens MLflow."""

COOKIE_SECONDS: Final = 30 * 24 * 3600
"""How long a browser that a link has opened MLflow in needs no other."""

# All lengths are multiples of three bytes: no `=` at the end, which terminals cut off a link.
_EXPIRY_BYTES = 5
_CODE_BYTES = 16


def needs_token() -> bool:
    """Return whether MLflow asks also the user who runs it for its token.

    Another system than Linux does not tell who connects; behind a proxy it is the proxy. To be
    asked in a process that has MLflow's variables.
    """
    return not sys.platform.startswith("linux") or bool(
        os.environ.get("TALWEG_PUBLIC_TRACKING_URI")
    )


def with_link_token(url: str, token: str) -> str:
    """Return the address of a page of MLflow as a link that opens it.

    Args:
        url: The address, without a query before its fragment.
        token: MLflow's token.
    """
    scheme, netloc, path, _, fragment = urlsplit(url)
    query = f"{LINK_FIELD}={_link_token(token, int(time.time()) + LINK_SECONDS)}"
    return urlunsplit((scheme, netloc, path or "/", query, fragment))


def opens(query: str, token: str) -> bool:
    """Return whether the query of a request has a link's token that holds.

    Args:
        query: The request's query.
        token: MLflow's token.
    """
    given = link_token_in(query)
    try:
        expiry = int.from_bytes(base64.urlsafe_b64decode(given)[:_EXPIRY_BYTES])
    except ValueError:
        return False
    return is_same(given, _link_token(token, expiry)) and time.time() < expiry


def link_token_in(query: str) -> str:
    """Return what a query has for a link's token; empty if it has none."""
    try:
        return parse_qs(query, max_num_fields=100).get(LINK_FIELD, [""])[0]
    except ValueError:
        return ""


def cookie(token: str) -> tuple[str, str]:
    """Return the name and the value of the cookie.

    Cookies are for all ports of a host, so stacks differ in its name.
    """
    name = base64.urlsafe_b64encode(_digest(token, "name")[:6]).decode()
    return f"talweg-{name}", base64.urlsafe_b64encode(_digest(token, "cookie")[:18]).decode()


def is_same(given: str, expected: str) -> bool:
    """Compare texts in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _link_token(token: str, expiry: int) -> str:
    code = _digest(token, f"link {expiry}")[:_CODE_BYTES]
    return base64.urlsafe_b64encode(expiry.to_bytes(_EXPIRY_BYTES) + code).decode()


def _digest(token: str, purpose: str) -> bytes:
    return hmac.digest(token.encode(), purpose.encode(), hashlib.sha256)
