"""The stack file: by it the client finds a stack of this machine without any setting.

`talweg up` writes it into its data folder, and a copy into the user's state folder. It is a JSON
object: "pid", the process of `talweg up`; "server", HOST:PORT of the gRPC server; and facts for
people.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

STACK_FILE: Final = "stack.json"
"""The file's name in the stack's data folder."""


def last_stack_file(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the copy, which is of the stack that was started last.

    Args:
        environ: The environment; XDG_STATE_HOME or else HOME says where the state folder is.

    Returns:
        The path; None where neither is set.
    """
    state = environ.get("XDG_STATE_HOME")
    if state:
        return Path(state) / "talweg" / STACK_FILE
    home = environ.get("HOME")
    return Path(home) / ".local/state/talweg" / STACK_FILE if home else None


def stacks_folder(*, create: bool = False) -> Path | None:
    """Return the folder with a copy for each running stack of this user, named by its process.

    A client that was given an address alone finds the stack's data folder by it, whatever its
    environment. The folder is for its owner alone; one of somebody else's in its place is not
    used.

    Args:
        create: Make the folder if it does not exist.

    Returns:
        The folder; None where it does not exist, or is not this user's alone.
    """
    if not hasattr(os, "getuid"):
        return None
    folder = Path(tempfile.gettempdir()) / f"talweg-{os.getuid()}"
    with suppress(OSError):
        if create:
            folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        is_mine = found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077 == 0
        if stat.S_ISDIR(found.st_mode) and is_mine:
            return folder
    return None
