"""What is tried by `make test` of much that takes long, and what by `make faults`."""

from collections.abc import Iterable
from typing import Any

import pytest


def a_few(values: Iterable[Any], *, of: int) -> list[Any]:
    """Return values for a test: `make test` tries one of so many, `make faults` the others.

    For what each value takes long to try.
    """
    return [
        pytest.param(value, marks=pytest.mark.faults) if index % of else value
        for index, value in enumerate(values)
    ]
