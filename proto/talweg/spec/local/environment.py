"""What programs of one machine make of the environment."""

import os
from collections.abc import Mapping

_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which programs reach this machine without a proxy for the web.

    Some read no_proxy and some NO_PROXY: both get what either says.

    Args:
        environ: The environment.
    """
    said = [environ.get(name, "").split(",") for name in ("no_proxy", "NO_PROXY")]
    hosts = (host.strip() for host in (*said[0], *said[1], *_THIS_MACHINE))
    own = ",".join(dict.fromkeys(filter(None, hosts)))
    return {"no_proxy": own, "NO_PROXY": own}


def without_secrets(*more: str) -> dict[str, str]:
    """Return what a process that handles untrusted files gets of the environment.

    Args:
        more: Names of further variables to pass on.
    """
    return {name: os.environ[name] for name in (*_PASSED, *more) if name in os.environ}
