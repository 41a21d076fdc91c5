"""All of it at once, for a process that runs code of others: to be called before that code."""

import os
import resource
from collections.abc import Iterable
from pathlib import Path

from talweg.worker.confinement import landlock, privileges, reading
from talweg.worker.confinement.landlock import Rules

MODE, READ = "TALWEG_SANDBOX", "TALWEG_SANDBOX_READ"
"""The variables by which an operator switches it off, or lets more be read."""


def confine(
    *, readable: Iterable[Path] = (), writable: Iterable[Path] = (), may_use_tcp: bool = False
) -> None:
    """Hold this process, and all that it starts, to what computing needs; for good.

    Python, the system and devices can be read in any case.

    Args:
        readable: What else can be read.
        writable: What can be changed.
        may_use_tcp: Whether it may connect and listen.
    """
    privileges.allow_no_more()
    privileges.limit(resource.RLIMIT_CORE, 0)
    if landlock.abi():
        landlock.restrict(
            Rules(
                readable=(*reading.of_python(), *readable),
                writable=(*reading.devices(), *writable),
                may_use_tcp=may_use_tcp,
            )
        )
    privileges.drop_capabilities()
    if not landlock.abi():
        # With Landlock no process that is held sees another's memory, and the worker can see how
        # much of it is shared.
        privileges.hide_memory()


def confine_unless_off(*, readable: Iterable[Path] = (), writable: Iterable[Path] = ()) -> None:
    """Do the same by the variables of the environment, for a process without settings."""
    if os.environ.get(MODE, "").lower() == "off":
        return
    more = (Path(each) for each in os.environ.get(READ, "").split(os.pathsep) if each)
    confine(readable=(*readable, *more), writable=writable)
