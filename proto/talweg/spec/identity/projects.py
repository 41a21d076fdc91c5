"""Projects: what separates the jobs, the data and the results of teams."""

import re
from typing import Final

DEFAULT_PROJECT: Final = "default"
"""Where everything is that names no project."""

ALL_PROJECTS: Final = "*"
"""In a token: all projects."""

PROJECT_METADATA: Final = "talweg-project"
"""The key of a call's metadata that names the project that it acts in."""

PROJECT_RULE: Final = (
    "must be 1 to 40 lower-case letters, digits and hyphens, beginning with a letter"
)
"""What the name of a project must be, for messages."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def is_project(name: str) -> bool:
    """Return whether a text may be the name of a project."""
    return _NAME.fullmatch(name) is not None
