"""Between settings of a space and parameters of an Optuna study.

A parameter is named by its place in the space, since the same path may be varied in several
choices, over other values in each. Values of lists are suggested by their index: they may be
objects.
"""

import json
from collections.abc import Iterator
from typing import Any, Protocol

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from talweg.spec.sweeps.space import Choices, Node, Product, Setting, Uniform, Values

Pair = tuple[str, Any]
Parameters = dict[str, tuple[Any, BaseDistribution]]
"""Values and distributions by name."""


class Dimension(Protocol):
    """A part of a space as parameters."""

    def suggest(self, trial: Trial) -> Iterator[Pair]:
        """Have a trial choose values, those of a choice once it is made."""

    def read(self, pairs: Iterator[Pair], into: Parameters) -> None:
        """Take the part's own pairs from the front of a setting's, and add their parameters.

        Raises:
            ValueError: They are not of the space.
        """


class Space:
    """Parameters of a space: a product of dimensions."""

    def __init__(self, space: Product, at: str = "") -> None:
        """Name the parameters.

        Args:
            space: The space.
            at: Where it stands in a larger one, with a dot; empty for the whole.
        """
        self._dimensions = [
            dimension(node, f"{at}{index}") for index, node in enumerate(space.nodes)
        ]

    def suggest(self, trial: Trial) -> Iterator[Pair]:
        """Have a trial choose values."""
        for each in self._dimensions:
            yield from each.suggest(trial)

    def read(self, pairs: Iterator[Pair], into: Parameters) -> None:
        """Take the pairs of all dimensions, and add their parameters."""
        for each in self._dimensions:
            each.read(pairs, into)

    def parameters(self, setting: Setting) -> Parameters:
        """Return the parameters of a whole setting.

        Raises:
            ValueError: It is not of the space.
        """
        found: Parameters = {}
        pairs = iter(setting)
        self.read(pairs, found)
        if more := list(pairs):
            raise ValueError(f"the setting has {more!r:.200} beside its space")
        return found


class _Index:
    """Which of some values is chosen: a categorical parameter, unless there is only one."""

    def __init__(self, name: str, values: list[Any]) -> None:
        self._name = name
        self._choices = range(len(values))
        self._distribution = CategoricalDistribution(self._choices)
        # Of equal values the first.
        self._by_value: dict[str, int] = {}
        for index, value in enumerate(values):
            self._by_value.setdefault(key(value), index)

    def suggest(self, trial: Trial) -> int:
        if len(self._choices) == 1:
            return 0
        return int(trial.suggest_categorical(self._name, self._choices))

    def read(self, value: Any, into: Parameters) -> int:
        index = self._by_value.get(key(value))
        if index is None:
            raise ValueError(f"the setting has a value that is not in its list: {value!r:.200}")
        if len(self._choices) > 1:
            into[self._name] = index, self._distribution
        return index


class _Values:
    def __init__(self, node: Values, name: str) -> None:
        self._node = node
        self._index = _Index(name, [list(row) for row in node.rows])

    def suggest(self, trial: Trial) -> Iterator[Pair]:
        yield from self._node.at(self._index.suggest(trial))

    def read(self, pairs: Iterator[Pair], into: Parameters) -> None:
        self._index.read([_value(pairs, path) for path in self._node.paths], into)


class _Choices:
    def __init__(self, node: Choices, name: str) -> None:
        self._node = node
        self._index = _Index(name, [value for value, _ in node.options])
        self._spaces = [
            Space(space, f"{name}.{index}.") for index, (_, space) in enumerate(node.options)
        ]

    def suggest(self, trial: Trial) -> Iterator[Pair]:
        index = self._index.suggest(trial)
        yield self._node.path, self._node.options[index][0]
        yield from self._spaces[index].suggest(trial)

    def read(self, pairs: Iterator[Pair], into: Parameters) -> None:
        index = self._index.read(_value(pairs, self._node.path), into)
        self._spaces[index].read(pairs, into)


class _Interval:
    def __init__(self, node: Uniform, name: str) -> None:
        self._node = node
        self._name = name
        self._distribution: FloatDistribution | IntDistribution
        if node.is_integer:
            self._distribution = IntDistribution(int(node.low), int(node.high), log=node.is_log)
        else:
            self._distribution = FloatDistribution(node.low, node.high, log=node.is_log)

    def suggest(self, trial: Trial) -> Iterator[Pair]:
        by = self._distribution
        value: float
        if isinstance(by, IntDistribution):
            value = trial.suggest_int(self._name, by.low, by.high, log=by.log)
        else:
            exact = trial.suggest_float(self._name, by.low, by.high, log=by.log)
            value = self._node.rounded(exact)
        yield self._node.path, value

    def read(self, pairs: Iterator[Pair], into: Parameters) -> None:
        value = _value(pairs, self._node.path)
        low, high = self._distribution.low, self._distribution.high
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{self._node.path} must be a number, but is {value!r:.200}")
        if not low <= value <= high:
            raise ValueError(f"{self._node.path} must be in [{low}, {high}], but is {value}")
        into[self._name] = value, self._distribution


def dimension(node: Node, name: str) -> Dimension:
    """Return the parameters of a part of a space.

    Args:
        node: The part.
        name: Of its parameter; a beginning of the names of those in its choices.
    """
    match node:
        case Values():
            return _Values(node, name)
        case Choices():
            return _Choices(node, name)
        case Uniform():
            return _Interval(node, name)
        case Product():
            return Space(node, f"{name}.")
    raise TypeError(f"a space of no known kind: {type(node).__name__}")


def key(value: Any) -> str:
    """Return what values have in common that are the same to a job, unlike 1 and true."""
    return json.dumps(value, sort_keys=True)


def _value(pairs: Iterator[Pair], path: str) -> Any:
    found, value = next(pairs, ("nothing", None))
    if found != path:
        raise ValueError(f"the setting has {found} where its space has {path}")
    return value
