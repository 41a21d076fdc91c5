"""P values corrected for several comparisons."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p values: rejecting those <= alpha errs anywhere with at most alpha.

    The smallest is multiplied by their number, the next by one less, and so on; none is smaller
    than one before it.

    Reference: Holm 1979, https://www.jstor.org/stable/4615733
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
