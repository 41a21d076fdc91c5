"""Formulas of a user's own: arithmetic over `pred`, `target`, parameters and known functions.

`parse` reads a formula with Python's own parser into a small tree, and refuses all else with the
column where it stands. Nothing is ever run by Python: the worker makes tensor operations of the
tree.
"""

from talweg.spec.formulas._reader import param_problem, parse
from talweg.spec.formulas._tree import (
    FUNCTIONS,
    INPUTS,
    MASK,
    MAX_DEPTH,
    MAX_EXPONENT,
    MAX_NODES,
    MAX_NUMBER,
    NUMBER,
    OPERATORS,
    Function,
    Input,
    Number,
    Operation,
    Term,
    gives,
    uses,
)

__all__ = [
    "FUNCTIONS",
    "INPUTS",
    "MASK",
    "MAX_DEPTH",
    "MAX_EXPONENT",
    "MAX_NODES",
    "MAX_NUMBER",
    "NUMBER",
    "OPERATORS",
    "Function",
    "Input",
    "Number",
    "Operation",
    "Term",
    "gives",
    "param_problem",
    "parse",
    "uses",
]
