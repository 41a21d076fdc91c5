"""Answers one question a line until its standard input ends."""

import json
import sys
import traceback

from talweg.search.answering import Answering
from talweg.search.question import Question


def main() -> None:
    """Answer questions; one that fails is answered by its traceback, for the server's log."""
    answering = Answering()
    for line in sys.stdin.buffer:
        try:
            settings = answering.settings(Question.from_json(line))
            reply = json.dumps({"settings": settings}, allow_nan=False)
        except Exception:
            reply = json.dumps({"error": traceback.format_exc()})
        sys.stdout.write(reply + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
