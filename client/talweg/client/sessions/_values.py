"""Answers of sessions as values."""

from dataclasses import dataclass
from enum import StrEnum

from talweg.v1 import sessions_pb2


class SessionDecision(StrEnum):
    """What was decided about a proposal; equal to its name, such as ``"KEEP"``."""

    KEEP = "KEEP"
    DISCARD = "DISCARD"
    NOT_DISTINGUISHABLE = "NOT_DISTINGUISHABLE"


@dataclass(frozen=True)
class ProposalAnswer:
    """What a session has found about one proposal; `str` returns the decision in words."""

    number: int
    """From 1, in the order of submission."""
    label: str
    """The proposal in words."""
    baseline: str
    """What it is compared with, in words."""
    sweep: str
    """``sweeps/{id}``; empty for single jobs."""
    decision: SessionDecision
    """Keep, discard or neither."""
    text: str
    """The decision in words, with what it rests on."""
    share: float
    """The share of the budget that it was given."""
    level: float
    """The error at which it is held."""
    pairs: int
    """Pairs of an ended job and one of the baseline."""
    next_pairs: int
    """At which the next look is taken; 0 where none follows."""

    @classmethod
    def of(cls, message: sessions_pb2.SessionAnswer) -> "ProposalAnswer":
        """Convert a message."""
        return cls(
            number=message.number,
            label=message.label,
            baseline=message.baseline,
            sweep=message.sweep,
            decision=SessionDecision(sessions_pb2.SessionAnswer.Decision.Name(message.decision)),
            text=message.text,
            share=message.share,
            level=message.level,
            pairs=message.pairs,
            next_pairs=message.next_pairs,
        )

    def __str__(self) -> str:
        """Return the text."""
        return self.text
