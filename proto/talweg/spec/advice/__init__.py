"""Advice on the choice of a loss: tables of reasons, and the ranking by them.

The rows are data: a loss, points, a sentence and a condition on facts. There is one module per
family of tasks. `_table.py` explains the ranking.
"""

from talweg.spec.advice._facts import facts
from talweg.spec.advice._measured import Measured, facts_measured
from talweg.spec.advice._rank import recommend

__all__ = ["Measured", "facts", "facts_measured", "recommend"]
