"""Bounds of a test that looks at its data several times, by how much error each look may spend.

The statistics of the looks are those of a Brownian motion at times that grow with the data, 1 at
the most that may be collected: nothing but the times and the error decides where the bounds lie,
so the looks may come as they will, as long as they do not come by what was seen.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

_NUM_POINTS = 401
# Beyond so many standard deviations there is nothing.
_FAR = 8.5


def hwang_shih_decani(time: float, error: float, gamma: float) -> float:
    """Return the error that is spent up to a time.

    Args:
        time: In [0, 1].
        error: Spent at time 1.
        gamma: Where most of it is spent: < 0 late, as O'Brien and Fleming do at about -4; > 0
            early, as Pocock does at about 1; 0 evenly.

    Reference: Hwang, Shih and De Cani 1990, https://doi.org/10.1002/sim.4780091207
    """
    share = time if gamma == 0 else np.expm1(-gamma * time) / np.expm1(-gamma)
    return float(error * min(max(share, 0.0), 1.0))


@dataclass(frozen=True)
class _Looked:
    """A Brownian motion after some looks at which it has not stopped."""

    bounds: tuple[float, ...]
    """Of the looks."""
    points: NDArray[np.float64]
    """Where it may be."""
    masses: NDArray[np.float64]
    """How likely it is near each of these points, without having stopped."""


def bounds(times: tuple[float, ...], spent: tuple[float, ...], *, sides: int) -> tuple[float, ...]:
    """Return the least standard normal statistic of each look that stops.

    By numerical integration over where the statistic may be without having stopped.

    Args:
        times: Of the looks, growing, > 0.
        spent: The error that is spent up to each of them, growing.
        sides: 1 where only large values stop, 2 where small ones do too.

    Reference: Armitage, McPherson and Rowe 1969, https://doi.org/10.2307/2343787; Lan and DeMets
        1983, https://doi.org/10.1093/biomet/70.3.659
    """
    return _looked(times, spent, sides).bounds


# A look has those before it in common with the one that was asked for before.
@lru_cache(maxsize=1024)
def _looked(times: tuple[float, ...], spent: tuple[float, ...], sides: int) -> _Looked:
    if not times:
        return _Looked((), np.zeros(1), np.ones(1))
    before = _looked(times[:-1], spent[:-1], sides)
    last_time, last_spent = (times[-2], spent[-2]) if len(times) > 1 else (0.0, 0.0)
    scale = float(np.sqrt(times[-1] - last_time))
    edge = _edge(before.points, before.masses, scale, spent[-1] - last_spent, sides)
    points, masses = _going_on(before.points, before.masses, scale, edge, sides)
    return _Looked((*before.bounds, edge / float(np.sqrt(times[-1]))), points, masses)


def _edge(
    points: NDArray[np.float64],
    masses: NDArray[np.float64],
    scale: float,
    to_spend: float,
    sides: int,
) -> float:
    """Return beyond which value of the Brownian motion as much is found as may be spent."""

    def excess(edge: float) -> float:
        beyond = special.ndtr((points - edge) / scale)
        if sides == 2:
            beyond = beyond + special.ndtr((-edge - points) / scale)
        return float(masses @ beyond) - to_spend

    # Comparisons that take no looks need none of it.
    from scipy.optimize import brentq  # noqa: PLC0415

    return float(brentq(excess, 0.0 if sides == 2 else -_FAR, 2 * _FAR, xtol=1e-10))


def _going_on(
    points: NDArray[np.float64],
    masses: NDArray[np.float64],
    scale: float,
    edge: float,
    sides: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points between the edges, and how likely the motion is near each of them."""
    low = -edge if sides == 2 else min(-_FAR, edge - 1.0)
    new = np.linspace(low, edge, _NUM_POINTS)
    # Simpson's rule.
    weights = np.full(_NUM_POINTS, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    weights *= (edge - low) / (3 * (_NUM_POINTS - 1))
    deviations = (new[:, None] - points[None, :]) / scale
    density = np.exp(-(deviations**2) / 2) / (np.sqrt(2 * np.pi) * scale)
    return new, weights * (density @ masses)
