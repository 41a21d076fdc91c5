"""Advice on the choice of a loss: tables of reasons, a row each, and what ranks by them.

The rows are data: a loss, points, a sentence and a condition on facts, in one module a family of
tasks. `_table.py` says how points make a rank.
"""

from talweg.spec.advice._facts import facts
from talweg.spec.advice._measured import Measured, facts_measured
from talweg.spec.advice._rank import recommend

__all__ = ["Measured", "facts", "facts_measured", "recommend"]
