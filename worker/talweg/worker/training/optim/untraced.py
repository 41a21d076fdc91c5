"""torch's optimizers without the tracer of `torch.compile`.

They ask `torch._dynamo` to leave their methods out of what it compiles, and so import it at their
first use: more than a second and 67 MB in every process that trains, though nothing here is
compiled.
"""

from typing import Any

import torch


def spare_tracer(*kinds: type[torch.optim.Optimizer]) -> None:
    """Have optimizers do without the tracer; what they compute is the same.

    Args:
        kinds: Their classes, none of which is asked for differentiable steps.
    """
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        method = getattr(torch.optim.Optimizer, name).__wrapped__
        # Where torch keeps the tracer's answer.
        setattr(method, "__dynamo_disable", method)  # noqa: B010
    for kind in kinds:
        step: Any = kind.step
        while hasattr(step, "__wrapped__"):
            step = step.__wrapped__
        kind.step = torch.no_grad()(step)  # type: ignore[method-assign]
