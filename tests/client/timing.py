"""How long programs take, on a machine that has other work too."""

import resource
import subprocess
from collections.abc import Mapping, Sequence


def cpu_seconds(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> float:
    """Return the least processor time of three runs: waiting for others is not counted."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=env, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)
