"""Whether the same job gives the same result, bit for bit, on a GPU.

On the CPU it always does: a run has one thread there. On a GPU some operators add up in whatever
order their threads come, and torch has a form of most of them that does not.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from talweg.v1.jobs_pb2 import LogLine
from talweg.worker.training.interface import Reporter

# With workspaces of a fixed size cuBLAS adds up in one order; it reads this when it is first used.
_CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
_memory: Any = torch.utils.deterministic
_REFUSED = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def reproducible(device: torch.device, asked: bool | None, report: Reporter) -> Iterator[None]:
    """Run with one thread, race-free kernels if asked for, and a random state of its own.

    Args:
        device: Where the run trains.
        asked: As for `deterministic_operators`, which are a GPU's concern.
        report: Takes the log.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    on_cuda = device.type == "cuda"
    try:
        with (
            torch.random.fork_rng(devices=[device] if on_cuda else []),
            deterministic_operators(asked, report) if on_cuda else nullcontext(),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def deterministic_operators(asked: bool | None, report: Reporter) -> Iterator[None]:
    """Hold operators to their deterministic forms.

    Args:
        asked: True: what has none is refused with a RuntimeError. False: the quickest forms are
            taken. None: what has none is taken all the same, and the log names it, once.
        report: Takes the log.
    """
    os.environ.setdefault(*_CUBLAS)
    before = torch.get_deterministic_debug_mode()
    filled = _memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(asked is not False, warn_only=asked is None)
    # Nothing here reads memory that it has not written, and filling it takes time.
    _memory.fill_uninitialized_memory = False
    try:
        with (
            torch.backends.cudnn.flags(
                enabled=True,
                benchmark=asked is False,
                deterministic=asked is not False,
                allow_tf32=False,
            ),
            _names_logged(report),
        ):
            yield
    finally:
        _memory.fill_uninitialized_memory = filled
        torch.set_deterministic_debug_mode(before)


def refused(exc: Exception) -> str | None:
    """Return the operator whose lack of a deterministic form an exception tells of, if it does."""
    match = _REFUSED.search(str(exc))
    return match[1] if match else None


@contextmanager
def _names_logged(report: Reporter) -> Iterator[None]:
    """Hand torch's warnings of operators without such a form to the log, each once."""
    named: set[str] = set()
    with warnings.catch_warnings():
        plain = warnings.showwarning

        def show(message: Any, *where: Any, **more: Any) -> None:
            match = _REFUSED.search(str(message))
            if match is None:
                plain(message, *where, **more)
            elif match[1] not in named:
                named.add(match[1])
                report.log(
                    LogLine.WARNING,
                    f"{match[1]} has no deterministic implementation on this device: the same "
                    "job may give a slightly different result. training.deterministic: true "
                    "refuses it.",
                )

        warnings.showwarning = show
        warnings.filterwarnings("default", message=".*does not have a deterministic")
        yield
