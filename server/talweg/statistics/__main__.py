"""Answers one question a line until its standard input ends."""

import json
import sys
import traceback
from dataclasses import asdict

from talweg.statistics.question import Question
from talweg.statistics.verdicts import answer


def main() -> None:
    """Answer questions; one that fails is answered by its traceback, for the server's log."""
    for line in sys.stdin.buffer:
        try:
            reply = json.dumps(asdict(answer(Question.from_json(line))), allow_nan=False)
        except Exception:
            reply = json.dumps({"error": traceback.format_exc()})
        sys.stdout.write(reply + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
