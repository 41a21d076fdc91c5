"""How a process died, in words."""

import signal
import subprocess
import sys

import pytest

from talweg.worker.deaths import crashed, killed_by

NATIVE = "a crash of native code: a plug-in's, a library's or a driver's"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "killed by SIGKILL, as the kernel does when memory runs out"),
        (signal.SIGSEGV, f"killed by SIGSEGV, {NATIVE}"),
        (signal.SIGBUS, f"killed by SIGBUS, {NATIVE}"),
        (signal.SIGILL, f"killed by SIGILL, {NATIVE}"),
        (signal.SIGFPE, f"killed by SIGFPE, {NATIVE}"),
        (signal.SIGABRT, f"killed by SIGABRT, {NATIVE}"),
        (signal.SIGTERM, "killed by SIGTERM"),
        (250, "killed by signal 250"),
    ],
)
def test_the_hint_fits_the_signal(number: int, words: str) -> None:
    assert killed_by(number) == words


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"])
def test_what_faulthandler_writes_is_understood(name: str) -> None:
    code = (
        "import faulthandler, os, signal\n"
        "faulthandler.enable()\n"
        "def loss():\n"
        f"    os.kill(os.getpid(), signal.{name})\n"
        "loss()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert crashed(done.stderr) == (
        f'its process was killed by {name}, {NATIVE}, in loss ("<string>", line 4), '
        'called by <module> ("<string>", line 5)'
    )


def test_without_a_word_memory_is_looked_at() -> None:
    assert "as by SIGKILL when memory runs out" in crashed("")
    assert crashed("Fatal Python error: none_dealloc: odd\n\n") == (
        "its process was ended by a fatal error, none_dealloc: odd"
    )
