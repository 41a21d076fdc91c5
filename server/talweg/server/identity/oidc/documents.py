"""Fetches what an issuer publishes: its discovery document, and the keys that this names."""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from talweg.server.identity.oidc.keys import PublicKey, parse_keys
from talweg.spec.identity.security import is_loopback

_DISCOVERY = "/.well-known/openid-configuration"
# Of one read; of one document.
_TIMEOUT_S, _MOST_S = 5.0, 8.0
_MOST_BYTES = 512 * 1024
_CHUNK_BYTES = 64 * 1024


class IssuerError(Exception):
    """What an issuer publishes cannot be fetched, or is not what it has to be."""


def check_url(url: str) -> str:
    """Return a URL whose answer nobody between can have changed.

    Args:
        url: Of an issuer.

    Raises:
        ValueError: It is neither https nor http to this machine, or not the URL of an issuer.
    """
    try:
        parts = urlsplit(url)
        is_fit = parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        is_fit = False
    if not is_fit or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError(f"must be https://HOST, with a port and a path at most, but got {url!r}")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_local(parts)):
        raise ValueError(f"must be https://, or http:// to this machine, but got {url!r}")
    return url


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return how an issuer's certificate is checked.

    Args:
        ca_file: Its CA, in PEM; those of the system if None.

    Raises:
        OSError: The file cannot be read, or holds no certificate.
    """
    return ssl.create_default_context(cafile=ca_file)


def fetch_keys(issuer: str, *, ca_file: Path | None) -> tuple[PublicKey, ...]:
    """Fetch the keys by which an issuer signs now. It may take some seconds.

    Args:
        issuer: Its URL, checked.
        ca_file: The CA of its certificate, in PEM; those of the system if None.

    Raises:
        IssuerError: It does not answer, or not with what it has to.
    """
    is_plain = issuer.startswith("http://")
    opener = _opener(issuer, ca_file=ca_file)
    configuration = _fetch(opener, issuer.rstrip("/") + _DISCOVERY)
    said = configuration.get("issuer")
    if said != issuer:
        raise IssuerError(
            f"its discovery document is of issuer {said!r:.200}, but TALWEG_OIDC_ISSUER is "
            f"{issuer!r}: both must be the same, to the last slash"
        )
    where = configuration.get("jwks_uri")
    try:
        if not isinstance(where, str) or (where.startswith("http://") and not is_plain):
            raise ValueError(f"must be a URL as protected as the issuer's, but got {where!r:.200}")
        check_url(where.partition("?")[0])
    except ValueError as exc:
        raise IssuerError(f"jwks_uri in its discovery document {exc}") from exc
    try:
        keys = parse_keys(_fetch(opener, where))
    except ValueError as exc:
        raise IssuerError(f"{where}: {exc}") from exc
    if not keys:
        raise IssuerError(f"{where} holds no public key that can be used")
    return keys


def _is_local(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    return is_loopback(f"[{host}]" if ":" in host else host)


def _opener(issuer: str, *, ca_file: Path | None) -> urllib.request.OpenerDirector:
    """Return what fetches by the issuer's protocol alone, and follows no redirect elsewhere."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.HTTPDefaultErrorHandler())
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    parts = urlsplit(issuer)
    # None leads to this machine.
    if not _is_local(parts):
        opener.add_handler(urllib.request.ProxyHandler())
    if parts.scheme == "http":
        opener.add_handler(urllib.request.HTTPHandler())
        return opener
    try:
        context = tls_context(ca_file)
    except OSError as exc:
        raise IssuerError(f"{ca_file}: {exc.strerror or exc}") from exc
    opener.add_handler(urllib.request.HTTPSHandler(context=context))
    return opener


def _fetch(opener: urllib.request.OpenerDirector, url: str) -> dict[str, Any]:
    deadline = time.monotonic() + _MOST_S
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    content = b""
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            while chunk := response.read1(_CHUNK_BYTES):
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise IssuerError(f"{url} is larger than {_MOST_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise IssuerError(f"{url} took longer than {_MOST_S:g} s")
    except urllib.error.HTTPError as exc:
        where = f" to {exc.headers['location']!r:.200}" if 300 <= exc.code < 400 else ""
        exc.close()
        raise IssuerError(f"{url} answered {exc.code}{where}") from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise IssuerError(f"{url}: {getattr(exc, 'reason', None) or exc or type(exc)}") from exc
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise IssuerError(f"{url} is not JSON") from exc
    if not isinstance(document, dict):
        raise IssuerError(f"{url} is not an object of JSON")
    return document
