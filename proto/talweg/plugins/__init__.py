"""What a plug-in is written with: its declaration, and what it is called with and returns.

A plug-in is a callable that a package names as an entry point of the group `talweg.losses`,
`talweg.models` or `talweg.datasets`. docs/plugins.md tells how to write one.
"""

from talweg.plugins._data import Data
from talweg.plugins._declaring import DECLARATION, REQUIRED, Declaration, Parameter, declare
from talweg.plugins._models import ModelContext

__all__ = [
    "DECLARATION",
    "REQUIRED",
    "Data",
    "Declaration",
    "ModelContext",
    "Parameter",
    "declare",
]
