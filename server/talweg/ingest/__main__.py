"""Reads one file: a request as JSON on standard input, results as files in its folder."""

import sys

from talweg.ingest.limits import set_limits
from talweg.ingest.request import Request


def main() -> None:
    """Read a file; exit status 3 where there is not enough memory for it."""
    request = Request.from_json(sys.stdin.buffer.read())
    set_limits(request.memory_bytes, request.seconds)
    # Below the limits, as these take memory themselves.
    from talweg.ingest.run import run  # noqa: PLC0415

    try:
        run(request)
    except MemoryError:
        print("MemoryError", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
