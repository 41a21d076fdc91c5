"""Frozen parameters: no gradient, no state of an optimizer, and no change.

Batch normalisation whose parameters are frozen stays in evaluation mode, since its running
statistics would follow the new data otherwise, and with them what the layers behind it get.
"""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from talweg.worker.errors import UserSpecError
from talweg.worker.training.fine_tuning.patterns import matched, matches, some

OF_LOSS = "loss."
"""What the names of parameters begin with that belong to a loss and not to the network."""


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freeze what patterns stand for, and return the names of all frozen parameters.

    Args:
        model: The network, beside its loss where that is trained too, which is never frozen.
        patterns: As the spec has them.

    Raises:
        UserSpecError: A pattern matches nothing, or nothing of the network is left to train.
    """
    parameters = {
        name: parameter
        for name, parameter in model.named_parameters()
        if not name.startswith(OF_LOSS)
    }
    frozen = dict.fromkeys(
        name
        for index, pattern in enumerate(patterns)
        for name in matched(pattern, list(parameters), field=f"freeze[{index}]")
    )
    if len(frozen) == len(parameters):
        raise UserSpecError(
            f"freeze: found patterns that freeze all {len(parameters)} parameters of the network; "
            "allowed patterns that leave something to train. To evaluate a model without "
            f"training it, use talweg predict; the layers are {some(frozen)}"
        )
    for name in frozen:
        parameters[name].requires_grad_(False)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and _is_frozen(name, module, patterns):
            _keep_in_evaluation(module)
    return [name for name in parameters if name in frozen]


def _is_frozen(name: str, norm: nn.Module, patterns: Sequence[str]) -> bool:
    own = list(norm.parameters())
    if own:
        return not any(parameter.requires_grad for parameter in own)
    return any(matches(pattern, name) for pattern in patterns)


def _keep_in_evaluation(norm: nn.Module) -> None:
    """Put a module into evaluation mode, where it stays when what is around it is trained."""

    def stay(mode: bool = True) -> nn.Module:
        return norm

    norm.eval()
    norm.train = stay  # type: ignore[method-assign]
