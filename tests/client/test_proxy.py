"""Behind a proxy for the web: it is passed by on this machine, and named where it answers."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests._parts import Server

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")


class Proxy:
    """An HTTP proxy that refuses all, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                proxy.asked.append(self.path)
                self.send_error(404)

            do_GET = do_POST = do_CONNECT

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://user:secret@127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


def status(address: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Ask a server for its jobs, in a process whose variables name proxies."""
    others = {name: text for name, text in os.environ.items() if name.lower() not in VARIABLES}
    return subprocess.run(
        [sys.executable, "-m", "talweg.client.cli", "--address", address, "jobs"],
        env={**others, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_a_server_on_this_machine_is_reached_without_the_proxy(
    variable: str, proxy: Proxy, server_process: Server
) -> None:
    address = server_process.address
    port = address.rpartition(":")[2]
    for own in (address, f"dns:///localhost:{port}"):
        done = status(own, **{variable: proxy.url})
        assert done.returncode == 0, done.stderr
    assert proxy.asked == []


def test_a_proxy_that_answers_is_named(proxy: Proxy) -> None:
    done = status("talweg.invalid:7070", https_proxy=proxy.url)
    assert proxy.asked[0] == "talweg.invalid:7070"
    assert done.returncode != 0
    assert "a proxy answered in place of the server at talweg.invalid:7070" in done.stderr
    assert "404" in done.stderr
    assert "https_proxy names it: add the server's host to no_proxy" in done.stderr
    assert "secret" not in done.stderr


def test_no_proxy_is_honoured(proxy: Proxy) -> None:
    done = status("talweg.invalid:7070", http_proxy=proxy.url, no_proxy=".invalid")
    assert proxy.asked == []
    assert "no server answers at talweg.invalid:7070" in done.stderr
    assert "proxy" not in done.stderr


def test_a_web_server_in_place_of_the_server_is_no_server(proxy: Proxy) -> None:
    done = status(proxy.url.rpartition("@")[2])
    assert done.returncode != 0
    assert proxy.url.rpartition("@")[2] in done.stderr
