"""scikit-learn, imported at its first use.

It takes a second, for which a process that predicts, serves or delivers would wait in vain.
"""

from typing import Any


def datasets() -> Any:
    """Return `sklearn.datasets`."""
    from sklearn import datasets  # noqa: PLC0415 - see above

    return datasets
