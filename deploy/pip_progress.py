"""Run pip, write its output to a log, and say how far it is.

    python deploy/pip_progress.py LOG install ...

On a terminal one line changes. Elsewhere a line is printed for each phase, each large file and
every 25th package. Exit status: pip's.
"""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

LARGE_MB = 20.0
_EVERY = 25
_COLLECTING = re.compile(r"Collecting ([A-Za-z0-9._-]+)")
# A wheel that is fetched; those of .metadata are small and only looked into.
_FETCHING = re.compile(
    r"\s*(Downloading|Using cached) (?:\S*/)?([^\s/]+)\s\(([\d.]+) (kB|MB|GB|bytes)\)"
)
_INSTALLING = re.compile(r"Installing collected packages: (.+)")
_MB = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


class Progress:
    """Says how far pip is, by the lines that it prints."""

    def __init__(self, out: TextIO) -> None:
        """Say nothing yet."""
        self._out = out
        self._on_terminal = out.isatty()
        self._collected: set[str] = set()
        self._num_fetched = 0
        self._started = time.monotonic()

    def take(self, line: str) -> None:
        """Read a line of pip's."""
        if match := _COLLECTING.match(line):
            self._collected.add(match[1].lower())
            num = len(self._collected)
            self._say(
                f"choosing versions: {_packages(num)}", is_news=num == 1 or num % _EVERY == 0
            )
        elif match := _FETCHING.match(line):
            if not match[2].endswith(".metadata"):
                self._fetch(match)
        elif match := _INSTALLING.match(line):
            num = len(match[1].split(","))
            self._say(f"unpacking {_packages(num)}", is_news=True)

    def end(self) -> None:
        """Leave the line."""
        if self._on_terminal:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _fetch(self, match: re.Match[str]) -> None:
        self._num_fetched += 1
        size = float(match[3]) * _MB[match[4]]
        what = "downloading" if match[1] == "Downloading" else "taking from the cache"
        name = "-".join(match[2].split("-")[:2])
        # pip fetches its build tools, too, so there may be more than were chosen.
        total = max(len(self._collected), self._num_fetched)
        self._say(
            f"[{self._num_fetched}/{total}] {what} {name} ({match[3]} {match[4]})",
            is_news=size >= LARGE_MB or self._num_fetched % _EVERY == 0,
        )

    def _say(self, text: str, *, is_news: bool) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        text = f"  {minutes}:{seconds:02} {text}"
        if self._on_terminal:
            self._out.write(f"\r\x1b[K{text[:79]}")
        elif is_news:
            self._out.write(f"{text}\n")
        self._out.flush()


def _packages(num: int) -> str:
    return f"{num} package{'s' * (num > 1)}"


def main(arguments: list[str]) -> int:
    """Run pip and return its exit status.

    Args:
        arguments: The log, and pip's arguments.
    """
    log, *rest = arguments
    progress = Progress(sys.stdout)
    with (
        Path(log).open("a", encoding="utf-8") as file,
        subprocess.Popen(
            [sys.executable, "-u", "-m", "pip", *rest],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            file.write(line)
            progress.take(line)
    progress.end()
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
