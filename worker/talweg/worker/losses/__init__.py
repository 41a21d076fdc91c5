"""The losses: the catalogue's messages as PyTorch modules.

`build` makes the module of a `Loss` message; its call checks names, shapes and dtypes and
nothing that would cost a pass over the data. `evaluate` computes a loss once and checks it all.
To add a loss, write its message in proto/talweg/v1/losses.proto, a subclass of one of the
families in `_base.py`, a line in `_registry.py`, and rows in tests/worker/losses/.
"""

from talweg.worker.losses._base import LossModule
from talweg.worker.losses._own import OwnLoss
from talweg.worker.losses._registry import build, evaluate
from talweg.worker.losses._sum import Sum

__all__ = ["LossModule", "OwnLoss", "Sum", "build", "evaluate"]
