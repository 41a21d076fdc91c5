"""Who gets past what stands before MLflow, and what the others are told."""

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.fuzz.messages import damaged

from talweg.deploy.services._mlflow_guard import Guard, Message, Receive, Send
from talweg.spec.local import mlflow_access
from talweg.spec.local.mlflow_access import cookie, opens, with_link_token

TOKEN, OTHER = "a" * 43, "b" * 43
OWN = "40000"
"""The port that a program of the owner sends from."""
COOKIE = "=".join(cookie(TOKEN))
PAGE = "http://127.0.0.1:5000/#/experiments/1/runs/x?a=b"


@dataclass
class Asked:
    """A request and what came of it."""

    scope: Message
    sent: list[Message] = field(default_factory=list)
    passed: bool = False

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


def ask(
    path: str = "/",
    query: str = "",
    kind: str = "http",
    port: str = "0",
    **headers: str | bytes,
) -> Asked:
    """Send a request to a guard; `passed` says whether it came through."""
    names = [
        (name.encode(), value.encode() if isinstance(value, str) else value)
        for name, value in headers.items()
    ]
    asked = Asked(
        {"type": kind, "method": "GET", "path": path, "headers": names}
        | {"query_string": query.encode(), "client": ("127.0.0.1", int(port))}
    )

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        asked.passed = True

    async def receive() -> Any:
        raise AssertionError("the body is not for the guard")

    async def send(message: Message) -> None:
        asked.sent.append(message)

    guard = Guard(
        app,
        token=TOKEN,
        token_file=Path("/home/<me>/mlflow-token"),
        is_own=lambda scope: scope["client"][1] == int(OWN),
    )
    asyncio.run(guard(asked.scope, receive, send))
    return asked


def query_of(link: str) -> str:
    return link.partition("?")[2].partition("#")[0]


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, False),
        ({"authorization": f"Bearer {TOKEN}"}, True),
        ({"authorization": f"bearer {TOKEN}"}, True),
        ({"authorization": f"Bearer {OTHER}"}, False),
        ({"authorization": "Bearer "}, False),
        ({"authorization": f"Basic {TOKEN}"}, False),
        ({"authorization": "Bearer \xfc"}, False),
        ({"cookie": COOKIE}, True),
        ({"cookie": f"other=1; {COOKIE}"}, True),
        ({"cookie": "=".join(cookie(OTHER))}, False),
        ({"cookie": f"{cookie(TOKEN)[0]}={TOKEN}"}, False),
        ({"cookie": f"{cookie(TOKEN)[0]}="}, False),
        ({"cookie": "\0;;=; a"}, False),
    ],
)
def test_a_token_or_its_cookie_passes(headers: dict[str, str], passes: bool) -> None:
    for path in ("/", "/api/2.0/mlflow/runs/search", "/health/", "//health"):
        asked = ask(path, **headers)
        assert asked.passed is passes
        assert passes or asked.status == 401
    refused = ask("/", kind="websocket", **headers)
    assert refused.passed is passes
    assert passes or refused.sent == [{"type": "websocket.close", "code": 1008}]
    assert ask("/health").passed


def test_programs_of_the_owner_pass_without_a_token() -> None:
    path = "/api/2.0/mlflow/runs/search"
    assert ask(path, port=OWN).passed
    assert ask(path, port=OWN, authorization=f"Bearer {OTHER}").passed
    assert not ask(path, port="40001").passed


@pytest.mark.parametrize(
    ("origin", "passes"),
    [("http://127.0.0.1:5000", True), ("http://127.0.0.1:5001", False), ("null", False),
     ("http://localhost:5000", False), ("https://elsewhere.example", False), ("", False)],
)  # fmt: skip
def test_a_page_that_somebody_else_serves_is_not_let_in_by_the_owners_browser(
    origin: str, passes: bool
) -> None:
    path = "/ajax-api/2.0/mlflow/runs/search"
    asked = ask(path, port=OWN, origin=origin, host="127.0.0.1:5000")
    assert asked.passed is passes
    assert passes or asked.status == 401


@pytest.mark.parametrize("query", ["&".join(["a"] * 101), "token=" + "&token=" * 200])
def test_odd_queries_are_refused_as_others_are(query: str) -> None:
    assert ask(query=query).status == 401


def test_a_link_is_exchanged_for_a_cookie_and_leaves_no_trace() -> None:
    link = with_link_token(PAGE, TOKEN)
    assert link.partition("#")[2] == PAGE.partition("#")[2]
    assert TOKEN not in link
    asked = ask(query=query_of(link))
    assert (asked.passed, asked.status) == (False, 303)
    assert asked.headers[b"location"] == b"./"
    kept = asked.headers[b"set-cookie"].decode()
    assert kept.startswith(f"{COOKIE}; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(kept.split("; "))
    # What the web server writes into its log.
    assert asked.scope["query_string"] == b""
    # A browser that is in already is not kept out by an old link.
    assert ask(query="token=old", cookie=COOKIE).passed
    # Only pages are opened so.
    assert ask("/api/2.0/mlflow/runs/search", query_of(link)).status == 401


def test_a_link_is_of_one_stack_and_of_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    query = query_of(with_link_token(PAGE, TOKEN))
    given = query.partition("=")[2]
    assert opens(query, TOKEN)
    assert not opens(query, OTHER)
    later = mlflow_access._link_token(OTHER, 2**33)
    for wrong in ("", "x", "=", given[:-1], given[:7] + later[7:], "\xe9" * 28, "AAAA", given * 2):
        assert not opens(f"token={wrong}", TOKEN), wrong
    monkeypatch.setattr(mlflow_access, "LINK_SECONDS", -1)
    asked = ask(query=query_of(with_link_token(PAGE, TOKEN)), accept="text/html,*/*")
    assert asked.status == 401
    body = asked.sent[1]["body"].decode()
    assert "The link has run out" in body
    assert "talweg open" in body
    assert "/home/&lt;me&gt;/mlflow-token" in body
    # A browser asks for no name and password, which nobody has.
    assert asked.headers[b"www-authenticate"] == b"Bearer"


def test_whatever_is_sent_is_refused_and_breaks_nothing() -> None:
    rng = random.Random(0)
    link, name = query_of(with_link_token(PAGE, TOKEN)), cookie(TOKEN)[0]
    for _ in range(500):
        noise = rng.randbytes(rng.choice([0, 1, 30]))
        odd = damaged(link.encode(), rng).decode("latin-1")
        query = rng.choice([odd, "&".join(["token=x"] * 200), f"token={noise!r}", "token=%ff%00"])
        asked = ask(
            query=query.replace(link, ""),
            authorization=rng.choice([b"Bearer " + noise, noise]),
            cookie=rng.choice([name.encode() + b"=" + noise, noise]),
        )
        assert (asked.passed, asked.status) == (False, 401), asked.scope
