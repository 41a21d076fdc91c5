"""The command `talweg` from its first moment.

Importing the client takes a good part of a second, in which Ctrl-C would show Python's traceback:
so what is installed as the command imports it under a guard.
"""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process; see `talweg.client.cli.main`."""
    try:
        from talweg.client.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
