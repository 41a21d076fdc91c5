"""From which seeds random tests are made, and how many of them."""

import os
import random
import secrets

SEED = "TALWEG_FUZZ_SEED"
"""The variable that sets a run's seed: what failed under it fails again."""
CASES = "TALWEG_FUZZ_CASES"
"""The variable that sets the number of cases of `make faults`."""


def fixed_seed() -> int:
    """Return the seed of a few cases in every run of the tests: always the same unless set."""
    return int(os.environ.get(SEED, "0"))


def new_seed() -> int:
    """Return the seed of many cases: another one in every run unless set."""
    return int(os.environ.get(SEED) or secrets.randbelow(10**9))


def num_cases(usual: int) -> int:
    """Return how many cases to make, where so many are usual."""
    return int(os.environ.get(CASES) or usual)


def chance(seed: int, case: int) -> random.Random:
    """Return the random numbers of one case, which do not depend on the cases before it."""
    return random.Random(f"{seed}:{case}")
