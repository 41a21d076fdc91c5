"""What stands between a delivery and MLflow in tests of a bad connection."""

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Proxy:
    """Passes requests on to MLflow. It may hold some back, lose answers, or know less."""

    def __init__(self, url: str) -> None:
        self.holds = ""
        """The end of the path of requests that wait before MLflow sees them; empty for none."""
        self.loses = ""
        """The end of the path of the one request whose answer is lost; empty for none."""
        self.lacks = ""
        """A part of the path of requests that are answered as by a server that does not know them;
        empty for none."""
        self.held, self.opened = threading.Event(), threading.Event()
        self._target = urlsplit(url)
        self._paths: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.pass_on(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def num_asked(self, ending: str) -> int:
        """Return how many requests have come whose path has this end."""
        return sum(path.endswith(ending) for path in self._paths)

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        path = request.path.partition("?")[0]
        holds = bool(self.holds) and path.endswith(self.holds)
        loses = bool(self.loses) and path.endswith(self.loses)
        self._paths.append(path)
        if self.lacks and self.lacks in path:
            request.send_error(404)
            return
        if holds:
            self.held.set()
            assert self.opened.wait(360)
        connection = HTTPConnection(str(self._target.hostname), self._target.port)
        connection.request(request.command, request.path, body, dict(request.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if loses:
            self.loses = ""
            request.close_connection = True
            return
        request.send_response(answer.status)
        request.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
