"""Memory limits of this process's control groups, by both versions of cgroups.

Containers, systemd and batch schedulers such as SLURM limit memory by a group, which lies in other
groups with limits of their own: the least of them holds.

Reference: https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class _Files:
    """Where one version of cgroups tells of memory, in each group's folder."""

    limit: str
    used: str
    events: str
    cached: tuple[str, str]
    """Lines of memory.stat: page cache, which is given up for whoever needs the memory."""


_V2 = _Files("memory.max", "memory.current", "memory.events", ("inactive_file", "active_file"))
_V1 = _Files(
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "memory.oom_control",
    ("total_inactive_file", "total_active_file"),
)


def left(root: Path = ROOT, membership: Path = MEMBERSHIP) -> Iterator[int]:
    """Yield the bytes that each group which holds this process still leaves to it.

    Args:
        root: Where the groups are mounted.
        membership: The file that names the process's own groups.
    """
    for folder, files in _groups(root, membership):
        # A group without a limit says max, or has no such file at the top.
        with suppress(OSError, ValueError):
            most = int((folder / files.limit).read_text())
            now = int((folder / files.used).read_text())
            cached = _lines(folder / "memory.stat")
            yield max(0, most - now + sum(cached.get(name, 0) for name in files.cached))


def num_killed(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int:
    """Return how many processes the kernel has killed as these groups had no memory left.

    Args:
        root: Where the groups are mounted.
        membership: The file that names the process's own groups.
    """
    counts = [0]
    for folder, files in _groups(root, membership):
        with suppress(OSError, ValueError):
            counts.append(_lines(folder / files.events).get("oom_kill", 0))
    # A group counts what those inside it count too.
    return max(counts)


def _groups(root: Path, membership: Path) -> Iterator[tuple[Path, _Files]]:
    """Yield the folders of the groups that limit this process's memory, innermost first."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield from ((folder, _V1) for folder in _upwards(root / "memory", path))
        elif number == "0":
            for mount in (root, root / "unified"):
                yield from ((folder, _V2) for folder in _upwards(mount, path))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        # The group lies outside what this process may see of the hierarchy.
        parts = []
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def _lines(path: Path) -> dict[str, int]:
    """Return the numbers of a file with a name and a number a line."""
    return {name: int(number) for name, number in map(str.split, path.read_text().splitlines())}
