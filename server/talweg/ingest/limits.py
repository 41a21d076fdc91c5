"""Limits of this process, set by itself before it looks at the file."""

import math
import os
import resource
import signal

_CPU_FACTOR = 2
"""Libraries use a few threads."""
# Each thread of these reserves address space, of which there is a limit.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def set_limits(memory_bytes: int, seconds: float) -> None:
    """Limit address space and time, and keep no core file. To be called before other imports.

    Args:
        memory_bytes: Address space.
        seconds: Of wall-clock time; after it the process is ended by SIGALRM.
    """
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    # Other pools reserve far more than they use.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    # As must each thread of glibc's allocator.
    os.environ["MALLOC_ARENA_MAX"] = "2"
    cpu = math.ceil(seconds * _CPU_FACTOR)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
