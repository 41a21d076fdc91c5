"""How a plug-in says what it is: its parameters with types, defaults and bounds."""

import inspect
import json
import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin

DECLARATION = "talweg_declaration"
"""The attribute by which `declare` leaves a declaration at a plug-in's callable."""
REQUIRED: Any = object()
"""The default of a parameter that has none, so that every job must set it."""

_TYPES = (float, int, bool, str)

C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True)
class Parameter:
    """A parameter of a plug-in.

    Raises:
        ValueError: The parts do not fit each other, such as a default that is out of bounds.
    """

    name: str
    """Its name, a Python identifier."""
    type: type | types.GenericAlias
    """float, int, bool or str; or a list of these, such as list[int]."""
    default: Any = REQUIRED
    """The value of jobs that do not set it; None makes it optional, and is what is then passed."""
    description: str = ""
    """What it does, in a sentence."""
    gt: float | None = None
    """Greater than; for numbers, or each number of a list."""
    ge: float | None = None
    """Greater than or equal to."""
    lt: float | None = None
    """Less than."""
    le: float | None = None
    """Less than or equal to."""
    choices: Sequence[str] = ()
    """The texts that it may be; any where empty."""

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if not self.name.isidentifier():
            raise ValueError(f"the name of a parameter must be an identifier, not {self.name!r}")
        if self.item_type not in _TYPES:
            raise ValueError(
                f"the type of parameter {self.name} must be float, int, bool, str or a list of "
                f"these, such as list[int], but got {self.type!r}"
            )
        bounds = [each for each in (self.gt, self.ge, self.lt, self.le) if each is not None]
        if bounds and self.item_type not in (float, int):
            raise ValueError(f"parameter {self.name} has bounds, and holds no numbers")
        if not all(map(math.isfinite, bounds)):
            raise ValueError(f"the bounds of parameter {self.name} must be finite")
        if self.choices and self.item_type is not str:
            raise ValueError(f"parameter {self.name} has choices, and holds no text")
        if self.default is not REQUIRED:
            try:
                json.dumps(self.default, allow_nan=False)
            except (TypeError, ValueError) as exc:
                raise ValueError(
                    f"the default of parameter {self.name} must be a value of JSON: {exc}"
                ) from exc

    @property
    def is_list(self) -> bool:
        """Whether it holds a list."""
        return self.type is list or get_origin(self.type) is list

    @property
    def item_type(self) -> Any:
        """The type of its value, or of each item of a list."""
        if not self.is_list:
            return self.type
        items = get_args(self.type)
        return items[0] if len(items) == 1 else None


@dataclass(frozen=True)
class Declaration:
    """What a plug-in says of itself."""

    parameters: tuple[Parameter, ...]
    """Its parameters, in the order in which people see them."""
    description: str = ""
    """What it is, in a sentence or two."""
    when: str = ""
    """When to use it, in one sentence."""
    reference: str = ""
    """The paper or text that describes it."""
    tasks: tuple[str, ...] = ()
    """The tasks that it suits, such as regression; empty for all tasks of its kind of plug-in."""


def declare(
    *parameters: Parameter,
    description: str = "",
    when: str = "",
    reference: str = "",
    tasks: Sequence[str] = (),
) -> Callable[[C], C]:
    """Declare a plug-in's parameters, so that they are shown and checked before jobs run.

        @declare(Parameter("scale", float, default=1.0, gt=0, description="Width of the core."))
        def cauchy(parameters): ...

    The plug-in is called with all of them, the defaults of those that a job does not set included.
    A plug-in that is not declared is called with whatever a job sets.

    Args:
        *parameters: All that it takes.
        description: What it is; the first paragraph of the docstring where empty.
        when: When to use it, in one sentence.
        reference: The paper or text that describes it.
        tasks: The tasks that it suits; all where empty.

    Raises:
        ValueError: Two parameters have one name.
    """
    names = [parameter.name for parameter in parameters]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"the parameters {', '.join(doubles)} are declared twice")

    def mark(plugin: C) -> C:
        first = (inspect.getdoc(plugin) or "").partition("\n\n")[0]
        declaration = Declaration(
            tuple(parameters),
            description=description or " ".join(first.split()),
            when=when,
            reference=reference,
            tasks=tuple(tasks),
        )
        setattr(plugin, DECLARATION, declaration)
        return plugin

    return mark
