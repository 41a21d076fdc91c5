"""Links to the pages of MLflow, which open the one of a stack on this machine without a prompt."""

import html
import os
import sys
import tempfile
import webbrowser
from pathlib import Path

from talweg.client._address import LocalStack, mlflow_token, stack_of_mlflow
from talweg.spec.local.mlflow_access import with_link_token

_FILE = "mlflow-open.html"
_FORWARD = """<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>MLflow</title>
<meta http-equiv="refresh" content="0; url={url}">
<a href="{url}">MLflow</a>
"""


def link_shown(url: str, *, err: bool = False) -> str:
    """Return the address of a page as it is to be shown.

    On a terminal it opens the page, and has what that takes; what goes to a file or a program may
    be kept, and so is the address alone.

    Args:
        url: The address, without anything that opens it; may be empty.
        err: It is shown on standard error instead of standard output.
    """
    stream = sys.stderr if err else sys.stdout
    if not url or not stream.isatty():
        return url
    stack = _stack_of(url)
    return opening(url) if stack is not None and stack.needs_token else url


def opening(url: str) -> str:
    """Return a link that opens a page of a stack's own MLflow, in any browser of this user.

    Linux tells who runs a browser, but not where that runs in a container or a virtual machine.

    Args:
        url: The address.
    """
    stack = _stack_of(url)
    token = mlflow_token(stack) if stack is not None else ""
    return with_link_token(url, token) if token else url


def browse(url: str) -> bool:
    """Open a page in a browser.

    The link is handed over in a file: every user of the machine sees the arguments of a program.

    Args:
        url: The address.

    Returns:
        Whether there was a browser.
    """
    link, stack = opening(url), _stack_of(url)
    if stack is None or link == url:
        return webbrowser.open(url)
    try:
        file = _write(Path(stack.data), _FORWARD.format(url=html.escape(link)))
    except OSError:
        # A full disk, mostly: the browser may have been let in before.
        return webbrowser.open(url)
    return webbrowser.open(file.as_uri())


def _stack_of(url: str) -> LocalStack | None:
    return stack_of_mlflow(url.partition("/#/")[0])


def _write(folder: Path, text: str) -> Path:
    """Write the file by which a browser is led on, for its owner alone."""
    aside, name = tempfile.mkstemp(dir=folder, prefix=f".{_FILE}.")
    with os.fdopen(aside, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(name).replace(folder / _FILE)
