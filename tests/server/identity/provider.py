"""An OpenID Connect provider on loopback, of which a test can have tokens signed."""

import base64
import http.client
import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from werkzeug.serving import make_server

with warnings.catch_warnings(record=True):
    # It still uses a part of Authlib that is to go.
    from oidc_provider_mock import app

AUDIENCE = "talweg"
_BACK = "http://localhost/back"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Provider:
    """A provider that serves."""

    port: int

    @property
    def issuer(self) -> str:
        """Its URL."""
        return f"http://localhost:{self.port}"

    def token(
        self, *groups: str, audience: str = AUDIENCE, user: str = "ann", **claims: Any
    ) -> str:
        """Log a user in, as a browser and an application would; the ID token."""
        body = json.dumps({"email": f"{user}@example.org", "groups": groups, **claims})
        self._ask("PUT", f"/users/{quote(user)}", body, {"Content-Type": "application/json"})
        query = {
            "client_id": audience,
            "redirect_uri": _BACK,
            "response_type": "code",
            "scope": "openid email",
        }
        answer, _ = self._ask(
            "POST", f"/oauth2/authorize?{urlencode(query)}", urlencode({"sub": user}), _FORM
        )
        (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": audience,
            "client_secret": "any",
            "redirect_uri": _BACK,
        }
        _, content = self._ask("POST", "/oauth2/token", urlencode(form), _FORM)
        token: str = json.loads(content)["id_token"]
        return token

    def public_key(self) -> dict[str, str]:
        """Return the key that it publishes, as anybody can read it."""
        _, content = self._ask("GET", "/jwks", "", {})
        (key,) = json.loads(content)["keys"]
        return dict(key)

    def _ask(
        self, method: str, path: str, body: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status < 400, (path, answer.status, content[:500])
            return answer, content
        finally:
            connection.close()


@contextmanager
def running_provider(port: int = 0, *, life: timedelta = timedelta(hours=1)) -> Iterator[Provider]:
    """Serve, with a key of its own.

    Args:
        port: Where; the system chooses one if 0.
        life: How long its tokens hold.
    """
    # Not run_server_in_thread, which gives a busy machine one second to stop it.
    server = make_server("localhost", port, app(access_token_max_age=life), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield Provider(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a token."""
    header, claims, _ = (part + "=" * (-len(part) % 4) for part in token.split("."))
    return json.loads(base64.urlsafe_b64decode(header)), json.loads(
        base64.urlsafe_b64decode(claims)
    )
