"""A YAML reader and writer for job files. Imported only where text is read or written.

YAML 1.2's core schema: ``1e-3`` is a number, ``no`` is a text, dates are texts. Plain data only:
no aliases (a small text could stand for a huge value), no tags that name types, no name twice.
"""

import re
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

MAX_DEPTH = 50
# More than the largest batches hold; the time of reading goes with it.
MAX_NODES = 100_000
# Python refuses a few thousand, with advice for programmers.
_MOST_DIGITS = 1_000
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_FLAG = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")
_TAG = "tag:yaml.org,2002:"
_RESOLVERS = (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _FLAG, list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789.")),
)


class Loader(yaml.SafeLoader):
    """Reads one document of plain data."""

    yaml_implicit_resolvers: dict[Any, Any] = {}
    yaml_constructors: ClassVar[dict[Any, Any]] = {}
    _depth = 0
    _nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Refuse aliases and bottomless nesting before anything is built from them."""
        if self.check_event(yaml.AliasEvent):
            raise self._error("an alias, which job files do not support")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} levels")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(f"more than {MAX_NODES:,} names and values")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _error(self, problem: str) -> yaml.MarkedYAMLError:
        peek: Any = self.peek_event
        return yaml.MarkedYAMLError(problem=problem, problem_mark=peek().start_mark)

    def construct_object_of(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build an object, and refuse a name that stands twice."""
        result: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a name that is a list or an object", problem_mark=key_node.start_mark
                )
            key = self.construct_object(key_node, deep=True)
            if key in result:
                raise yaml.MarkedYAMLError(
                    problem=f"the name '{key}' twice",
                    problem_mark=key_node.start_mark,
                )
            result[key] = self.construct_object(value_node, deep=True)
        return result

    def construct_integer(self, node: ScalarNode) -> int:
        """Build an integer; one of thousands of digits, which Python refuses, is none."""
        text = str(self.construct_scalar(node))
        if len(text) > _MOST_DIGITS:
            raise ConstructorError(
                problem=f"an integer of {len(text):,} characters", problem_mark=node.start_mark
            )
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text, 10)

    def construct_float(self, node: ScalarNode) -> float:
        """Build a number; .inf and .nan are read here and refused by the spec's types."""
        return float(
            str(self.construct_scalar(node)).lower().replace(".inf", "inf").replace(".nan", "nan")
        )

    def construct_flag(self, node: ScalarNode) -> bool:
        """Build a true or false."""
        text = str(self.construct_scalar(node)).lower()
        if text not in ("true", "false"):
            raise ValueError(f"a boolean must be true or false, but got {text!r}")
        return text == "true"

    def construct_list(self, node: Any) -> list[Any]:
        """Build a list."""
        return [self.construct_object(item, deep=True) for item in node.value]

    def construct_nothing(self, node: Node) -> None:
        """Build an absent value."""


for _name, _pattern, _first in _RESOLVERS:
    Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern.pattern})$"), _first)
_CONSTRUCTORS: dict[str, Any] = {
    "null": Loader.construct_nothing,
    "bool": Loader.construct_flag,
    "int": Loader.construct_integer,
    "float": Loader.construct_float,
    "str": Loader.construct_scalar,
    "seq": Loader.construct_list,
    "map": Loader.construct_object_of,
}
for _name, _construct in _CONSTRUCTORS.items():
    Loader.add_constructor(_TAG + _name, _construct)
# Without this a tag that names a type would be read past.
Loader.yaml_constructors[None] = Loader.construct_undefined


class Dumper(yaml.SafeDumper):
    """Writes plain data so that readers of YAML 1.1 and 1.2 read the same."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write shared values out, since job files hold no aliases."""
        return True


# Texts that only one of the two versions takes for a number are quoted.
for _name, _pattern, _first in _RESOLVERS:
    Dumper.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern.pattern})$"), _first)


def load(text: str) -> object:
    """Read one document; yaml.YAMLError or ValueError where it is none."""
    loader = Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def dump(value: Mapping[str, object]) -> str:
    """Write an object in the order of its fields, its innermost objects on one line each."""
    written: str = yaml.dump(
        value,
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=99,
    )
    return written
