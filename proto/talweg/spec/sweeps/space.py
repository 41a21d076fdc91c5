"""The settings of a sweep: counted without listing them, and each found by its index."""

import hashlib
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from random import Random
from typing import Any, Protocol, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from talweg.v1.sweeps_pb2 import Dimension

T = TypeVar("T")

Setting = tuple[tuple[str, Any], ...]
"""Paths and their values, in the order in which they are put into the job."""


# Four make a pseudorandom permutation of a pseudorandom function (Luby and Rackoff 1988).
_TURNS = 4
_DIGITS = 6


class Node(Protocol):
    """A part of a space."""

    @property
    def count(self) -> int | None:
        """How many settings it has; None where they are infinitely many."""

    def at(self, index: int) -> Setting:
        """Return the setting with an index below `count`."""

    def draw(self, random: Random) -> Setting:
        """Return a setting at random."""

    @property
    def width(self) -> int:
        """How many numbers `pick` takes."""

    def pick(self, point: Sequence[float]) -> Setting:
        """Return the setting at a point of the unit cube, all of whose numbers are in [0, 1)."""

    def each(self) -> Iterator[Setting]:
        """Yield settings in which each value occurs, such as the ends of an interval."""


@dataclass(frozen=True)
class Values:
    """Listed values of one path, or of several whose values belong together."""

    paths: Sequence[str]
    """One or several."""
    rows: Sequence[Sequence[Any]]
    """One value a path."""

    @property
    def count(self) -> int:
        """How many settings there are."""
        return len(self.rows)

    def at(self, index: int) -> Setting:
        """Return the setting with an index."""
        return tuple(zip(self.paths, self.rows[index], strict=True))

    def draw(self, random: Random) -> Setting:
        """Return a setting at random."""
        return self.at(random.randrange(self.count))

    @property
    def width(self) -> int:
        """One, for the index."""
        return 1

    def pick(self, point: Sequence[float]) -> Setting:
        """Return the setting at a point."""
        return self.at(int(point[0] * self.count))

    def each(self) -> Iterator[Setting]:
        """Yield all settings."""
        return map(self.at, range(self.count))


@dataclass(frozen=True)
class Choices:
    """Values of one path, each with a space of its own."""

    path: str
    """Where the values stand."""
    options: Sequence[tuple[Any, "Product"]]
    """Values, and what is varied where one was chosen."""

    @property
    def count(self) -> int | None:
        """How many settings there are; None where they are infinitely many."""
        return _total([space.count for _, space in self.options])

    def at(self, index: int) -> Setting:
        """Return the setting with an index."""
        for value, space in self.options:
            count = space.count
            assert count is not None, "an infinite space has no indices"
            if index < count:
                return ((self.path, value), *space.at(index))
            index -= count
        raise IndexError(index)

    def draw(self, random: Random) -> Setting:
        """Return a setting at random, each value as likely as any other."""
        value, space = self.options[random.randrange(len(self.options))]
        return ((self.path, value), *space.draw(random))

    @property
    def width(self) -> int:
        """One for the choice, and as many as the widest space, since only one is varied."""
        return 1 + max(space.width for _, space in self.options)

    def pick(self, point: Sequence[float]) -> Setting:
        """Return the setting at a point."""
        value, space = self.options[int(point[0] * len(self.options))]
        return ((self.path, value), *space.pick(point[1:]))

    def each(self) -> Iterator[Setting]:
        """Yield settings in which each value occurs; values take turns."""

        def each(value: Any, space: "Product") -> Iterator[Setting]:
            return (((self.path, value), *setting) for setting in space.each())

        return in_turn([each(value, space) for value, space in self.options])


@dataclass(frozen=True)
class Uniform:
    """Numbers of an interval."""

    path: str
    """Where the number stands."""
    low: float
    """The least."""
    high: float
    """The largest."""
    is_log: bool = False
    """Uniform in the logarithm."""
    is_integer: bool = False
    """Whole numbers alone."""

    @property
    def count(self) -> int | None:
        """How many integers there are; None where not each is as likely as any other."""
        return int(self.high - self.low) + 1 if self.is_integer and not self.is_log else None

    def at(self, index: int) -> Setting:
        """Return the integer with an index; no other interval has a list."""
        assert self.count is not None, "an infinite space has no indices"
        return ((self.path, int(self.low) + index),)

    def value(self, share: float) -> Any:
        """Return the number at a share of the interval, in [0, 1)."""
        low, high = self.low, self.high
        if self.is_integer:
            # Each whole number owns the interval around it.
            low, high = low - 0.5, high + 0.5
        if self.is_log:
            number = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            number = low + share * (high - low)
        if self.is_integer:
            return int(min(max(round(number), self.low), self.high))
        return self.rounded(number)

    def rounded(self, number: float) -> float:
        """Return a number of the interval, none of whole numbers, as settings have it."""
        # As many digits as a reader can tell apart, and no fewer than tell its settings apart.
        ratio = max(abs(self.low), abs(self.high)) / (self.high - self.low)
        digits = min(17, max(_DIGITS, _DIGITS - 1 + math.ceil(math.log10(ratio))))
        return min(max(float(f"{number:.{digits}g}"), self.low), self.high)

    def draw(self, random: Random) -> Setting:
        """Return a number at random."""
        return ((self.path, self.value(random.random())),)

    @property
    def width(self) -> int:
        """One."""
        return 1

    def pick(self, point: Sequence[float]) -> Setting:
        """Return the number at a point."""
        return ((self.path, self.value(point[0])),)

    def each(self) -> Iterator[Setting]:
        """Yield both ends."""
        ends = (int(self.low), int(self.high)) if self.is_integer else (self.low, self.high)
        for end in dict.fromkeys(ends):
            yield ((self.path, end),)


@dataclass(frozen=True)
class Product:
    """Dimensions that are varied independently; the last one changes first."""

    nodes: Sequence[Node] = ()
    """The dimensions."""

    @property
    def count(self) -> int | None:
        """How many settings there are; None where they are infinitely many."""
        counts = [node.count for node in self.nodes]
        known = [count for count in counts if count is not None]
        return math.prod(known) if len(known) == len(counts) else None

    def at(self, index: int) -> Setting:
        """Return the setting with an index."""
        parts: list[Setting] = []
        for node in reversed(self.nodes):
            count = node.count
            assert count is not None, "an infinite space has no indices"
            index, rest = divmod(index, count)
            parts.append(node.at(rest))
        if index:
            raise IndexError(index)
        return tuple(pair for part in reversed(parts) for pair in part)

    def draw(self, random: Random) -> Setting:
        """Return a setting at random."""
        return tuple(pair for node in self.nodes for pair in node.draw(random))

    @cached_property
    def width(self) -> int:
        """As many as all dimensions take."""
        return sum(node.width for node in self.nodes)

    def pick(self, point: Sequence[float]) -> Setting:
        """Return the setting at a point."""
        pairs: list[tuple[str, Any]] = []
        taken = 0
        for node in self.nodes:
            pairs += node.pick(point[taken : taken + node.width])
            taken += node.width
        return tuple(pairs)

    def each(self) -> Iterator[Setting]:
        """Yield settings in which each value of each dimension occurs beside the others' first.

        Dimensions take turns, so that the first settings have some values of each.
        """
        parts = [node.each() for node in self.nodes]
        firsts = [next(part) for part in parts]
        yield tuple(pair for part in firsts for pair in part)

        def each(position: int, part: Iterator[Setting]) -> Iterator[Setting]:
            for setting in part:
                with_it = [*firsts[:position], setting, *firsts[position + 1 :]]
                yield tuple(pair for part in with_it for pair in part)

        yield from in_turn([each(position, part) for position, part in enumerate(parts)])


def in_turn(iterators: Sequence[Iterator[T]]) -> Iterator[T]:
    """Yield the first items of all, then the second ones, and so on."""
    waiting = deque(iterators)
    while waiting:
        turn = waiting.popleft()
        for item in islice(turn, 1):
            yield item
            waiting.append(turn)


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def product(dimensions: Sequence[Dimension]) -> Product:
    """Return the space of dimensions that `check_sweep` has found in order."""
    return Product([node(dimension) for dimension in dimensions])


def node(dimension: Dimension) -> Node:
    """Return the space of one dimension."""
    if dimension.zip:
        columns = [listed(part) for part in dimension.zip]
        return Values([part.path for part in dimension.zip], list(zip(*columns, strict=True)))
    if dimension.choices:
        options = [(plain(each.value), product(each.space)) for each in dimension.choices]
        return Choices(dimension.path, options)
    if dimension.HasField("integers"):
        integers = dimension.integers
        return Uniform(dimension.path, integers.low, integers.high, integers.log, is_integer=True)
    if dimension.HasField("uniform"):
        return Uniform(dimension.path, dimension.uniform.low, dimension.uniform.high)
    if dimension.HasField("log_uniform"):
        interval = dimension.log_uniform
        return Uniform(dimension.path, interval.low, interval.high, is_log=True)
    return Values([dimension.path], [[value] for value in listed(dimension)])


def listed(dimension: Dimension) -> list[Any]:
    """Return the values that a dimension lists."""
    return [plain(value) for value in dimension.values.values]


def plain(value: Message) -> Any:
    """Return a google.protobuf.Value as a job file's reader gives it: whole numbers as such."""
    return _whole(json_format.MessageToDict(value))


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _whole(item) for name, item in value.items()}
    return value


def random_setting(space: Node, seed: str, index: int) -> Setting:
    """Return the setting at an index of a random order; of finitely many each is there once."""
    count = space.count
    if count is None:
        return space.draw(Random(f"{seed}/{index}"))
    return space.at(shuffled(seed, count, index))


def shuffled(seed: str, count: int, index: int) -> int:
    """Return what stands at an index of the numbers below `count` in a random order.

    By a Feistel network over the next power of 4, whose surplus is walked past: nothing is listed,
    and the order does not depend on how many numbers are asked for.
    """
    assert 0 <= index < count, "other numbers are walked past for ever"
    bits = max(1, -(-(count - 1).bit_length() // 2))
    num_bytes = -(-bits // 8)
    mask = (1 << bits) - 1
    while True:
        left, right = index >> bits, index & mask
        for turn in range(_TURNS):
            # As long as the half: with fewer bytes a large space would be tried at one end alone.
            mixed = hashlib.shake_256(f"{seed}/{turn}/{right:x}".encode()).digest(num_bytes)
            left, right = right, left ^ (int.from_bytes(mixed, "big") & mask)
        index = left << bits | right
        if index < count:
            return index
