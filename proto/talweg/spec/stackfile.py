"""The stack file: by it the client finds a stack of this machine without any setting.

`talweg up` writes it into its data folder, and a copy into the user's state folder. It is a JSON
object: "pid", the process of `talweg up`; "server", HOST:PORT of the gRPC server; and facts for
people.
"""

from collections.abc import Mapping
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
