"""Quasi-random settings: points of a scrambled Sobol sequence."""

import hashlib
import json
from array import array

from scipy.stats import qmc

from talweg.spec.sweeps.space import Product, Setting, shuffled

# A finite space's last settings would take ever more points to be hit.
_POINTS_PER_SETTING = 4


class SobolSequence:
    """Finds the settings of a quasi-random search by their indices.

    A conditional dimension takes the numbers of a point that other choices leave to it, so that
    the sequence has as many dimensions as the widest setting. Of finitely many settings each
    comes once: a point that gives an earlier one is skipped, and what few points hit comes last,
    in a random order.

    Reference: Sobol 1967; scrambled as in Matousek 1998, https://doi.org/10.1006/jcom.1998.0489.
    """

    def __init__(self, space: Product, seed: int) -> None:
        """Begin a sequence.

        Args:
            space: What is varied.
            seed: Of the scrambling.
        """
        self._space = space
        self._seed = seed
        self._count = space.count
        self._engine = qmc.Sobol(max(1, space.width), scramble=True, rng=seed)
        # Of a finite space: the points of new settings; below zero the inverse of an index in it.
        self._places = array("q")
        self._hit: set[bytes] = set()
        self._num_points = 0
        self._num_shuffled = 0

    def at(self, index: int) -> Setting:
        """Return a setting.

        Args:
            index: From 0; of a finite space less than its count.
        """
        if self._count is None:
            return self._picked(index)
        while len(self._places) <= index:
            self._extend(self._count)
        place = self._places[index]
        return self._picked(place) if place >= 0 else self._space.at(~place)

    def _picked(self, point: int) -> Setting:
        engine = self._engine
        if point < engine.num_generated:
            engine.reset()
        if point > engine.num_generated:
            engine.fast_forward(point - engine.num_generated)
        return self._space.pick(engine.random(1)[0].tolist())

    def _extend(self, count: int) -> None:
        """Look at one more point, or at one more setting in a random order."""
        if self._num_points < _POINTS_PER_SETTING * count:
            place = self._num_points
            self._num_points += 1
            setting = self._picked(place)
        else:
            index = shuffled(str(self._seed), count, self._num_shuffled)
            self._num_shuffled += 1
            place, setting = ~index, self._space.at(index)
        digest = hashlib.blake2b(json.dumps(setting).encode(), digest_size=16).digest()
        if digest not in self._hit:
            self._hit.add(digest)
            self._places.append(place)
