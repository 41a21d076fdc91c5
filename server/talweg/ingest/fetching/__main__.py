"""Looks at a file or copies it: a request as JSON comes in, and the answer goes out."""

import json
import sys
from pathlib import Path

from talweg.ingest.limits import set_limits


def main() -> None:
    """Answer a request; what is wrong with the file is an answer too."""
    request = json.loads(sys.stdin.buffer.read())
    set_limits(request["memory_bytes"], request["seconds"])
    # Below the limits, as these take memory themselves.
    from talweg.ingest.fetching.fetch import fetch  # noqa: PLC0415

    target = Path(request["target"]) if request["target"] else None
    answer = fetch(request["uri"], request["root"], target, max_bytes=request["max_bytes"])
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
