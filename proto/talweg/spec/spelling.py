"""The known name that somebody may have meant: one rule and one form for every message."""

from collections.abc import Iterable
from difflib import get_close_matches

# Hardly a known name is longer, and finding the nearest takes time by the square of the length.
_LONGEST_COMPARED = 24


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the hint that names the known name nearest to a misspelt one; empty where none is."""
    names = near(name, known)
    return f"did you mean '{names[0]}'?" if names else ""


def near(name: str, known: Iterable[str], *, most: int = 1) -> list[str]:
    """Return the known names that are like a misspelt one, the nearest first.

    Args:
        name: What stands there, in letters of either case.
        known: What may stand there.
        most: At most so many.
    """
    candidates = {candidate[:_LONGEST_COMPARED].lower(): candidate for candidate in known}
    compared = name[:_LONGEST_COMPARED].lower()
    similar = get_close_matches(compared, list(candidates), n=most, cutoff=0.6)
    return [candidates[each] for each in similar]
