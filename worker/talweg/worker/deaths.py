"""What it means that a process was ended by a signal, in words."""

import re
import signal

_NATIVE = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
# What faulthandler says, where it is not the system's own word.
_FATAL = {
    "Segmentation fault": signal.SIGSEGV,
    "Bus error": signal.SIGBUS,
    "Illegal instruction": signal.SIGILL,
    "Floating-point exception": signal.SIGFPE,
    "Floating point exception": signal.SIGFPE,
    "Aborted": signal.SIGABRT,
}
_HEADLINE = re.compile(r"Fatal Python error: (.+)")
# The thread that has crashed, its innermost call first.
_THREAD = re.compile(r"Current thread .*\(most recent call first\):\n((?:  .*\n?)+)")
_CALL = re.compile(r'File "(.+)", line (\d+) in (.+)')
_MOST_CALLS = 3


def killed_by(number: int) -> str:
    """Say by which signal a process was killed, and what that hints at.

    Args:
        number: The signal's.
    """
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = _hint(number)
    return f"killed by {name}" + (f", {hint}" if hint else "")


def crashed(report: str) -> str:
    """Say how a process died.

    Args:
        report: What faulthandler has written of it; empty where it had no time to.
    """
    headline = _HEADLINE.search(report)
    if headline is None:
        return (
            "its process ended without a word: it was killed from outside, as by SIGKILL when "
            "memory runs out, or it ended itself"
        )
    number = _FATAL.get(headline[1])
    how = f"ended by a fatal error, {headline[1]}" if number is None else killed_by(number)
    thread = _THREAD.search(report)
    calls = _CALL.findall(thread[1])[:_MOST_CALLS] if thread else []
    where = ", called by ".join(f'{name} ("{file}", line {line})' for file, line, name in calls)
    return f"its process was {how}" + (f", in {where}" if where else "")


def _hint(number: int) -> str:
    if number == signal.SIGKILL:
        return "as the kernel does when memory runs out"
    if number in _NATIVE:
        return "a crash of native code: a plug-in's, a library's or a driver's"
    return ""
