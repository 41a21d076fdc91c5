"""What a process that handles untrusted files gets of the environment: no secrets."""

import os

_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


def without_secrets(*more: str) -> dict[str, str]:
    """Return what any program needs of this process's environment.

    Args:
        more: Names of further variables to pass on.
    """
    return {name: os.environ[name] for name in (*_PASSED, *more) if name in os.environ}
