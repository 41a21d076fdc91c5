"""What stands before MLflow's pages and its API: only the owner of the data folder gets in.

MLflow listens on loopback, where every user of the machine reaches it. A request passes if the
owner's own programs have made its connection, which Linux tells; with the token of the data folder
as a bearer token; or with the cookie that a link has given to a browser.
"""

import html
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from talweg.spec.local.mlflow_access import (
    COOKIE_SECONDS,
    LINK_FIELD,
    cookie,
    is_same,
    link_token_in,
    opens,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# It tells that MLflow runs, and nothing else; the stack and `talweg status` ask for it.
_OPEN_PATH = "/health"
_POLICY_VIOLATION = 1008
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>MLflow of Talweg</title>
<body style="font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 4rem auto">
<h1>This MLflow opens by a link of Talweg</h1>
<p>{reason}</p>
<p>Run <code>talweg open</code> in a terminal, as the user who started <code>talweg up</code>:
it opens this page. <code>talweg open --print</code> prints the link. This browser then needs
no other link for 30 days.</p>
<p>Programs set <code>MLFLOW_TRACKING_TOKEN</code> to the content of
<code>{file}</code>.</p>
"""


class Guard:
    """An ASGI application that passes on to another one what may pass."""

    def __init__(
        self, app: App, *, token: str, token_file: Path, is_own: Callable[[Message], bool]
    ) -> None:
        """Keep what is protected.

        Args:
            app: The application.
            token: The token.
            token_file: Where the token stands, for those who are refused.
            is_own: Returns whether a request comes from a program of the owner.
        """
        self._app = app
        self._token = token
        self._token_file = token_file
        self._is_own = is_own
        self._cookie = cookie(token)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan" or scope.get("path") == _OPEN_PATH:
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        is_page = scope.get("method") in ("GET", "HEAD") and scope["path"] == "/"
        if is_page and f"{LINK_FIELD}=" in query:
            # The web server logs it with the answer.
            scope["query_string"] = b""
            if opens(query, self._token):
                await _answer(send, HTTPStatus.SEE_OTHER, headers=self._entry())
                return
        if self._is_known(scope) or (self._is_own(scope) and not _is_of_other_page(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await self._refuse(scope, send, was_link=bool(link_token_in(query)))

    def _is_known(self, scope: Message) -> bool:
        for name, content in scope["headers"]:
            text = content.decode("latin-1")
            if name == b"authorization":
                scheme, _, given = text.partition(" ")
                if scheme.lower() == "bearer" and is_same(given.strip(), self._token):
                    return True
            elif name == b"cookie" and is_same(_cookie_in(text, self._cookie[0]), self._cookie[1]):
                return True
        return False

    def _entry(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that lead a browser to the same page without the link's token.

        A browser keeps the fragment, which is where MLflow's page says what it shows.
        """
        name, value = self._cookie
        # Strict would hold back the cookie when a link is opened from another page or program.
        kept = f"{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_SECONDS}"
        return [(b"location", b"./"), (b"set-cookie", kept.encode())]

    async def _refuse(self, scope: Message, send: Send, *, was_link: bool) -> None:
        accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
        reason = (
            "The link has run out, or is of another stack."
            if was_link
            else "The address alone does not open it: other users of this machine know it too."
        )
        if b"text/html" in accepted:
            page = _PAGE.format(reason=reason, file=html.escape(str(self._token_file)))
            kind, body = b"text/html; charset=utf-8", page.encode()
        else:
            message = (
                "the MLflow of this stack asks for its token: set MLFLOW_TRACKING_TOKEN to the "
                f"content of {self._token_file}. `talweg open` opens it in a browser"
            )
            content = {"error_code": "UNAUTHENTICATED", "message": message}
            kind, body = b"application/json", json.dumps(content).encode()
        # No scheme that a browser would ask a name and a password for.
        headers = [(b"content-type", kind), (b"www-authenticate", b"Bearer")]
        await _answer(send, HTTPStatus.UNAUTHORIZED, body, headers=headers)


def _is_of_other_page(scope: Message) -> bool:
    """Return whether a browser sends a request for a page that is none of this server.

    MLflow lets pages of all ports of this machine read and write, and any user may serve one.
    """
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host")


def _cookie_in(text: str, name: str) -> str:
    try:
        return jar[name].value if name in (jar := SimpleCookie(text)) else ""
    except CookieError:
        return ""


async def _answer(
    send: Send, status: HTTPStatus, body: bytes = b"", *, headers: list[tuple[bytes, bytes]]
) -> None:
    every = [
        *headers,
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
    ]
    await send({"type": "http.response.start", "status": status.value, "headers": every})
    await send({"type": "http.response.body", "body": body})
