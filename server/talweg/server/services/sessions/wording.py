"""Decisions of a session in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from talweg.server.services.comparison.wording import number
from talweg.server.services.sessions.pairing import Pairs
from talweg.server.store.record.session_rows import ProposalRow
from talweg.v1.sessions_pb2 import SessionAnswer

_WORDS = {
    SessionAnswer.KEEP: "keep",
    SessionAnswer.DISCARD: "discard",
    SessionAnswer.NOT_DISTINGUISHABLE: "not distinguishable",
}


def answer_message(row: ProposalRow, pairs: Pairs, found: Mapping[str, Any]) -> SessionAnswer:
    """Return the answer on a proposal.

    Args:
        row: The proposal.
        pairs: What is known of it.
        found: What talweg.statistics has decided.
    """
    answer = SessionAnswer(
        number=row.number,
        label=row.label,
        baseline=pairs.baseline,
        sweep=row.sweep_name,
        decision=SessionAnswer.Decision.Value(found["decision"]),
        share=found["share"],
        level=found["level"],
        metric=pairs.metric,
        pairs=len(pairs.differences),
        next_pairs=found["next_pairs"],
        looks=[
            SessionAnswer.Look(pairs=look["pairs"], p=look["p"], level=level, mean=look["mean"])
            for look, level in zip(found["looks"], found["levels"], strict=True)
        ],
    )
    answer.text = "; ".join([_text(answer, pairs, found["by"]), *_beside(answer, pairs)])
    return answer


def _beside(answer: SessionAnswer, pairs: Pairs) -> Iterator[str]:
    if pairs.num_seen:
        have = "jobs are" if pairs.num_seen > 1 else "job is"
        ran = "they" if pairs.num_seen > 1 else "it"
        yield f"{pairs.num_seen} {have} left out, as {ran} ran in the session before"
    if pairs.held_up_by and answer.decision == SessionAnswer.NOT_DISTINGUISHABLE:
        yield (
            f"{pairs.held_up_by} has failed or was cancelled: pairs from it on are waited for "
            "until it is submitted again or the session is closed"
        )


def _text(answer: SessionAnswer, pairs: Pairs, by: int) -> str:
    word = _WORDS[answer.decision]
    if by:
        look = answer.looks[by - 1]
        how = "better" if answer.decision == SessionAnswer.KEEP else "worse"
        return f"{word}: {answer.label} is {how} than {answer.baseline}, {_figures(look, pairs)}"
    if pairs.num_planned and not answer.looks:
        missing = f"{answer.pairs} of the {pairs.num_planned} planned pairs are there"
        return f"{word}: {answer.label} from {answer.baseline}, {missing}"
    missing = f"{answer.pairs} of the {answer.next_pairs} pairs that the next look takes are there"
    if answer.looks:
        figures = _figures(answer.looks[-1], pairs)
        follows = f"; {missing}" if answer.next_pairs else "; no look follows"
        return f"{word}: {answer.label} from {answer.baseline}, {figures}{follows}"
    return f"{word}: {answer.label} from {answer.baseline}, {missing}"


def _figures(look: SessionAnswer.Look, pairs: Pairs) -> str:
    relative = ""
    if pairs.mean:
        relative = f" ({look.mean / abs(pairs.mean):+.2%})"
    sign = "<=" if look.p <= look.level else ">"
    return (
        f"{pairs.metric} {number(look.mean, sign='+')}{relative} over {look.pairs} pairs, "
        f"p {number(look.p, digits=2)} {sign} {number(look.level, digits=2)}"
    )
