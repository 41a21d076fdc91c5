"""torch's optimizers without the tracer of `torch.compile`.

They ask `torch._dynamo` to leave their methods out of what it compiles, and so import it at their
first use: more than a second and 67 MB in every process that trains, though nothing here is
compiled.
"""

import inspect
from typing import Any, TypeVar

import torch

T = TypeVar("T", bound=type[torch.optim.Optimizer])

_METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def untraced(kind: T) -> T:
    """Return an optimizer's class without the tracer; what it computes is the same.

    torch's own class stays as it is, for whoever else uses it.

    Args:
        kind: The class. Its steps cannot be differentiated.
    """
    # Wrapped, they ask the tracer; so does the step's wrapper.
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in _METHODS}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    found: T = type(kind.__name__, (kind,), {"__doc__": kind.__doc__, **methods})  # type: ignore[assignment]
    _OF_TORCH[found] = kind
    return found


_OF_TORCH: dict[type[torch.optim.Optimizer], type[torch.optim.Optimizer]] = {}


def of_torch(optimizer: torch.optim.Optimizer) -> type[torch.optim.Optimizer]:
    """Return torch's own class of an optimizer."""
    kind = type(optimizer)
    return _OF_TORCH.get(kind, kind)
