"""The processes that train beside the first, and what may befall them."""

import os
import signal

import psutil

from talweg.worker.training import Stop


def members() -> list[psutil.Process]:
    """Those that train beside this process."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if _is_member(process)]


def _is_member(process: psutil.Process) -> bool:
    try:
        line = process.cmdline()
    except psutil.Error:
        return False
    return "talweg.worker.training.distributed.rank" in line


class Kills:
    """A control that kills all members after so many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self.killed: list[int] = []

    def check(self) -> Stop | None:
        self._left -= 1
        if self._left == 0:
            self.killed = [process.pid for process in members()]
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)
        return None
