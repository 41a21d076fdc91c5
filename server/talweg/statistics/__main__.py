"""Answers one question a line until its standard input ends."""

import json
import sys
import traceback
from dataclasses import asdict

from talweg.statistics.looks import LookAnswer, LookQuestion, take_look
from talweg.statistics.question import Question
from talweg.statistics.sessions import SessionDecisions, SessionQuestion, decide
from talweg.statistics.verdicts import Answer, answer


def main() -> None:
    """Answer questions; one that fails is answered by its traceback, for the server's log."""
    for line in sys.stdin.buffer:
        try:
            reply = json.dumps(asdict(_answer(line)), allow_nan=False)
        except Exception:
            reply = json.dumps({"error": traceback.format_exc()})
        sys.stdout.write(reply + "\n")
        sys.stdout.flush()


def _answer(line: bytes) -> Answer | LookAnswer | SessionDecisions:
    asked = json.loads(line)
    if "comparisons" in asked:
        return take_look(LookQuestion.from_json(line))
    if "proposals" in asked:
        return decide(SessionQuestion.from_json(line))
    return answer(Question.from_json(line))


if __name__ == "__main__":
    main()
