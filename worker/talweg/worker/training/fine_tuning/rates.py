"""Learning rates by parameter: factors of the optimizer's own."""

from collections.abc import Mapping

from torch import nn

from talweg.spec.errors import number_text
from talweg.worker.errors import UserSpecError
from talweg.worker.training.fine_tuning.patterns import matched, some


def factors_of(model: nn.Module, rates: Mapping[str, float]) -> dict[str, float]:
    """Return the factor of each parameter that has one, by its name.

    Args:
        model: All that is trained, after freezing.
        rates: Factors by pattern, as the spec has them.

    Raises:
        UserSpecError: A pattern matches nothing that is trained, or two match the same parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    patterns: dict[str, str] = {}
    for pattern in sorted(rates):
        field = f"learning_rates.{pattern}"
        found = matched(pattern, names, field=field)
        alive = [name for name in found if name in trained]
        if not alive:
            raise UserSpecError(
                f"{field}: found a factor for {some(found)}, which are frozen; allowed a pattern "
                "of parameters that are trained"
            )
        for name in alive:
            if name in patterns:
                other = patterns[name]
                both = [f"'{each}' ({number_text(rates[each])})" for each in (pattern, other)]
                raise UserSpecError(
                    f"{field}: found {name} matched by {' and by '.join(both)}; allowed one "
                    "pattern for each parameter. Narrow one of them"
                )
            patterns[name] = pattern
    return {name: rates[pattern] for name, pattern in patterns.items()}
