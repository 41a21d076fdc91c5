"""Losses as people write them in one word of a command line: `mse`, `huber:delta=2`."""

import re
from dataclasses import dataclass

from talweg import spec
from talweg.v1.losses_pb2 import Loss

_LONGEST_LABEL = 60
# What need not be said of a formula or a plug-in.
_FREE = re.compile(r"^(formula|name)=|^(params|parameters)\.")


@dataclass(frozen=True)
class Asked:
    """One loss of several that are looked at together."""

    loss: Loss
    """The loss: its defaults filled in, within its bounds."""
    label: str
    """What to call it."""


def read(text: str) -> Asked:
    """Read a loss.

    Args:
        text: A name; a name and parameters, `focal:gamma=1,alpha=[1, 2]`; or a job file's form,
            `{sum: {terms: [{loss: mse}, {loss: mae}]}}`.

    Raises:
        ValueError: There is no such loss, or it has no such parameters (then a SpecError).
    """
    if text.lstrip().startswith("{"):
        value: object = spec.read(text, source="loss")
        label = ""
    else:
        name, settings = spec.read_shorthand(text)
        job = spec.override({"loss": {name: {}}}, [f"loss.{name}.{one}" for one in settings])
        value = job["loss"]
        label = " ".join([name, *(_FREE.sub("", one) for one in settings)])
    loss = spec.fill_message(spec.from_dict(value, Loss, path="loss"))
    violations = spec.check_message(loss, "loss")
    if violations:
        raise spec.SpecError(violations)
    label = (label or spec.label(loss)).removeprefix("expression ")
    if len(label) > _LONGEST_LABEL:
        label = label[: _LONGEST_LABEL - 1] + "…"
    return Asked(loss, label)
