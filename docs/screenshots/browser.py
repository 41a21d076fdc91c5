"""A headless Chromium, driven over its DevTools protocol through pipes: no port, no library."""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, BinaryIO, Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Chromium reads commands from descriptor 3 and answers on 4.
_EXEC = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execvp(sys.argv[3], sys.argv[3:])"
)


class BrowserError(Exception):
    """The browser is missing, did not answer, or a page did not become what was expected."""


class Browser:
    """One tab of a Chromium with a fresh profile; a context manager."""

    def __init__(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Find the browser; nothing is started.

        Args:
            width: Of the page in pixels.
            height: Of the page in pixels.
            dark: Whether pages are to prefer dark colours.

        Raises:
            BrowserError: No Chromium is installed.
        """
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            raise BrowserError(
                f"no browser: none of {', '.join(NAMES)} is on the PATH. "
                "Install one, on Debian with: apt-get install chromium fonts-dejavu-core"
            )
        self._program = program
        self._width, self._height, self._dark = width, height, dark
        self._number = 0
        self._session = ""
        self._answers: deque[dict[str, Any]] = deque()
        self._news = threading.Condition()
        self._ended = False

    def __enter__(self) -> Self:
        """Start the browser and open a tab."""
        self._profile = tempfile.mkdtemp(prefix="talweg-screenshots-")
        commands_in, commands_out = os.pipe()
        answers_in, answers_out = os.pipe()
        # Beyond the two numbers that they get below, where one would overwrite the other.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 5) for end in (commands_in, answers_out)]
        self._process = subprocess.Popen(
            [
                sys.executable, "-c", _EXEC, *map(str, theirs), self._program,
                "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--no-first-run",
                "--disable-background-networking", "--force-color-profile=srgb",
                "--remote-debugging-pipe", f"--user-data-dir={self._profile}", "about:blank",
            ],
            pass_fds=theirs, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        for descriptor in (commands_in, answers_out, *theirs):
            os.close(descriptor)
        self._commands: BinaryIO = os.fdopen(commands_out, "wb", buffering=0)
        self._pipe: BinaryIO = os.fdopen(answers_in, "rb", buffering=0)
        threading.Thread(target=self._listen, daemon=True).start()
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("Runtime.enable")
        self.resize(self._height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the browser and remove its profile."""
        self._session = ""
        with contextlib.suppress(BrowserError, OSError):
            self._call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._commands.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def resize(self, height: int) -> None:
        """Set the height of the page."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=self._width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def before_pages(self, script: str) -> None:
        """Run a script in every page before its own."""
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, url: str) -> None:
        """Load a page from scratch, also where only the fragment differs from the last one."""
        self._call("Page.navigate", url="about:blank")
        answer = self._call("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression of JavaScript in the page.

        Raises:
            BrowserError: The script raised an exception.
        """
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, *, timeout: float = 60.0) -> None:
        """Wait until an expression of JavaScript is true.

        Raises:
            BrowserError: It did not become true in time; with the text of the page.
        """
        until = time.monotonic() + timeout
        while not self._is(condition):
            if time.monotonic() > until:
                text = self.evaluate("document.body ? document.body.innerText : ''")
                raise BrowserError(f"not within {timeout:g} s: {condition}\n{text[:2000]}")
            time.sleep(0.2)

    def _is(self, condition: str) -> bool:
        # While one page takes another's place there is none to ask.
        with contextlib.suppress(BrowserError):
            return bool(self.evaluate(f"Boolean({condition})"))
        return False

    def settle(self, *, quiet: float = 1.5, timeout: float = 30.0) -> None:
        """Wait until two pictures so many seconds apart are equal."""
        until = time.monotonic() + timeout
        last = b""
        while (now := self.picture()) != last and time.monotonic() < until:
            last = now
            time.sleep(quiet)

    def click(self, selector: str) -> None:
        """Click the middle of the first element that a CSS selector matches."""
        self.wait_for(f"document.querySelector({json.dumps(selector)})")
        x, y = self.evaluate(
            f"(e => {{e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2]}})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    def picture(self) -> bytes:
        """Return what the page shows as PNG."""
        data: str = self._call("Page.captureScreenshot", format="png")["data"]
        return base64.b64decode(data)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 60
        while True:
            with self._news:
                if not self._answers and not self._ended:
                    self._news.wait(1)
                answer = self._answers.popleft() if self._answers else None
            if answer is None:
                if self._ended or time.monotonic() > until:
                    raise BrowserError(f"{self._program} did not answer {method}")
            elif answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _listen(self) -> None:
        """Keep the answers to calls; events are of no interest."""
        rest = b""
        while chunk := self._pipe.read(1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            with self._news:
                self._answers.extend(
                    answer for answer in map(json.loads, messages) if "id" in answer
                )
                self._news.notify()
        with self._news:
            self._ended = True
            self._news.notify()
