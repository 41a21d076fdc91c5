"""The filters and orders of ListJobs.

    filter    = [ clause { "AND" clause } ]
    clause    = condition | "(" condition { "OR" condition } ")"
    condition = field operator value
    field     = "name" | "state" | "loss" | "task" | "experiment" | "worker" | "create_time"
              | "tags." KEY | "metrics." KEY
    operator  = "=" | "!=" ; for create_time also, and for metrics only, "<" | "<=" | ">" | ">="
    KEY, value = a word, or text in double quotes with \\" and \\\\ in it

Within parentheses all conditions are on one field. A name may end in *, and then stands for all
that begin so. A tag that a job does not have is unequal to every value. A metric counts by its
last value; of a job without it no comparison holds.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from talweg.server.errors import BadFilter, BadOrder, FieldProblem
from talweg.server.store.listing import Condition, Operator, OrderKey
from talweg.server.store.record.clock import from_datetime
from talweg.spec.spelling import nearest
from talweg.v1.jobs_pb2 import Job
from talweg.v1.losses_pb2 import Loss
from talweg.v1.tasks_pb2 import Task

_MAX_LENGTH = 10_000
_MAX_CONDITIONS = 200

_STATES = {name: number for name, number in Job.State.items() if number}
_LOSSES = [field.name for field in Loss.DESCRIPTOR.oneofs_by_name["kind"].fields]
_TASKS = [field.name for field in Task.DESCRIPTOR.oneofs_by_name["kind"].fields]
_FIELDS = ("name", "state", "loss", "task", "experiment", "worker", "create_time")
_KEYED = ("tags", "metrics")
_ALL_FIELDS = (*_FIELDS, *(f"{field}.KEY" for field in _KEYED))
_EQUALITY = ("=", "!=")
_COMPARISONS: tuple[Operator, ...] = ("=", "!=", "<=", ">=", "<", ">")
# Values of metrics are hardly ever equal to a number that somebody writes.
_ORDER: tuple[Operator, ...] = ("<=", ">=", "<", ">")
_OPERATORS_OF = {"create_time": _COMPARISONS, "metrics": _ORDER}

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<punctuation>[()])
      | (?P<operator>!=|<=|>=|=|<|>)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<word>[^\s()=!<>"]+)
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int

    @property
    def value(self) -> str:
        if self.kind == "text":
            return re.sub(r"\\(.)", r"\1", self.text[1:-1], flags=re.DOTALL)
        return self.text


def parse_filter(text: str) -> list[list[Condition]]:
    """Read a filter.

    Args:
        text: As the module's docstring says.

    Returns:
        Clauses, all of which must hold; of each clause's conditions one must.

    Raises:
        BadFilter: It cannot be read; says where, what was found and what is allowed there.
    """
    if len(text) > _MAX_LENGTH:
        description = f"must have <= {_MAX_LENGTH} characters, but has {len(text)}"
        raise BadFilter(f"filter {description}", fields=[FieldProblem("filter", description)])
    if "\0" in text:
        _refuse(text.index("\0"), "a NUL character", "text without it")
    return _Parser(text).filter()


def parse_order(text: str) -> list[OrderKey]:
    """Read an order_by, such as "priority desc, create_time".

    Args:
        text: Fields joined by commas; create_time desc where empty.

    Returns:
        At least one field.

    Raises:
        BadOrder: It cannot be read.
    """
    if not text.strip():
        return [OrderKey("create_time", descending=True)]
    keys: list[OrderKey] = []
    for part in text.split(","):
        words = part.split()
        descending = len(words) == 2 and words[1] == "desc"
        if len(words) != 1 and not descending and words[1:] != ["asc"]:
            _refuse_order(part, "FIELD or FIELD desc")
        match words[0]:
            case "create_time" | "priority" | "state" | "loss" as field:
                if any(key.field == field for key in keys):
                    _refuse_order(part, "each field once")
                keys.append(OrderKey(field, descending))
            case unknown:
                _refuse_order(unknown, "create_time, priority, state, loss")
    return keys


def _refuse_order(found: str, allowed: str) -> NoReturn:
    description = f"found {found.strip()!r}; allowed: {allowed}"
    raise BadOrder(f"order_by: {description}", fields=[FieldProblem("order_by", description)])


def _refuse(position: int, found: str, allowed: str, hint: str = "") -> NoReturn:
    description = f"at position {position + 1}: found {found}; allowed: {allowed}"
    if hint:
        description += f". {hint}"
    raise BadFilter(f"filter: {description}", fields=[FieldProblem("filter", description)])


class _Parser:
    def __init__(self, text: str) -> None:
        self._end = len(text)
        self._tokens = list(_tokens(text))
        self._next = 0
        self._num_conditions = 0

    def filter(self) -> list[list[Condition]]:
        clauses: list[list[Condition]] = []
        if self._peek() is None:
            return clauses
        clauses.append(self._clause())
        while (token := self._peek()) is not None:
            if token.text == "OR":
                _refuse(
                    token.position,
                    "OR",
                    "AND, or the end",
                    "Put conditions joined by OR in parentheses",
                )
            self._expect("AND", "AND, or the end")
            clauses.append(self._clause())
        return clauses

    def _clause(self) -> list[Condition]:
        token = self._peek()
        if token is None or token.text != "(":
            return [self._condition()]
        self._next += 1
        first = self._condition()
        conditions = [first]
        while (token := self._peek()) is not None and token.text != ")":
            self._expect("OR", 'OR, or ")"')
            position = self._position()
            condition = self._condition()
            if (condition.field, condition.key) != (first.field, first.key):
                _refuse(
                    position,
                    _name(condition),
                    _name(first),
                    "OR joins several values of one field",
                )
            conditions.append(condition)
        self._expect(")", 'OR, or ")"')
        return conditions

    def _condition(self) -> Condition:
        self._num_conditions += 1
        if self._num_conditions > _MAX_CONDITIONS:
            _refuse(self._position(), "one more condition", f"<= {_MAX_CONDITIONS} conditions")
        field, key = self._field()
        token = self._take("an operator such as =")
        allowed = _OPERATORS_OF.get(field, _EQUALITY)
        for operator in _COMPARISONS:
            if token.text == operator and operator in allowed and token.kind == "operator":
                break
        else:
            _refuse(token.position, repr(token.text), " ".join(allowed))
        return Condition(field, operator, self._value(field), key)

    def _field(self) -> tuple[str, str]:
        allowed = ", ".join(_ALL_FIELDS)
        token = self._take(f"a field: {allowed}")
        if token.kind == "word":
            field, dot, key = token.text.partition(".")
            if field in _KEYED and key:
                return field, key
            following = self._peek()
            # tags."a key": the quotes end the word.
            if field in _KEYED and dot and following is not None and following.kind == "text":
                self._next += 1
                return field, following.value
            if token.text in _FIELDS:
                return token.text, ""
        _refuse(token.position, repr(token.text), allowed, nearest(token.text, _ALL_FIELDS))

    def _value(self, field: str) -> str | int | float:
        token = self._take("a value")
        if token.kind not in ("word", "text"):
            _refuse(token.position, repr(token.text), 'a word, or text in "quotes"')
        match field:
            case "state":
                return _STATES[_one_of(token, list(_STATES))]
            case "loss":
                return _one_of(token, _LOSSES)
            case "task":
                return _one_of(token, _TASKS)
            case "create_time":
                return _time(token)
            case "metrics":
                return _number(token)
            case "name" if not token.value.startswith("jobs/"):
                _refuse(token.position, repr(token.value), "jobs/ID, or jobs/PREFIX*")
        return token.value

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _position(self) -> int:
        token = self._peek()
        return self._end if token is None else token.position

    def _take(self, allowed: str) -> _Token:
        token = self._peek()
        if token is None:
            _refuse(self._end, "the end", allowed)
        self._next += 1
        return token

    def _expect(self, text: str, allowed: str) -> None:
        token = self._take(allowed)
        if token.text != text or token.kind == "text":
            _refuse(token.position, repr(token.text), allowed)


def _tokens(text: str) -> Iterable[_Token]:
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            position += len(text[position:]) - len(text[position:].lstrip())
            if text[position] == '"':
                _refuse(position, "an unterminated quote", 'a closing "')
            _refuse(position, repr(text[position]), "a field, an operator or a value")
        yield _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
        position = match.end()


def _one_of(token: _Token, allowed: Sequence[str]) -> str:
    if token.value not in allowed:
        hint = nearest(token.value, allowed)
        _refuse(token.position, repr(token.value), ", ".join(allowed), hint)
    return token.value


def _time(token: _Token) -> int:
    try:
        moment = datetime.fromisoformat(token.value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        _refuse(token.position, repr(token.value), 'an RFC 3339 time: "2026-01-31T18:00:00Z"')
    return from_datetime(moment)


def _number(token: _Token) -> float:
    try:
        number = float(token.value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        _refuse(token.position, repr(token.value), "a finite number, such as 0.5")
    return number


def _name(condition: Condition) -> str:
    return f"{condition.field}.{condition.key}" if condition.key else condition.field
