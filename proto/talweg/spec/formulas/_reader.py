"""From a formula's text to its checked tree, or to all that is wrong with it, by column."""

import ast
import keyword
import re
from collections.abc import Mapping

from talweg.spec.errors import SpecError, Violation, number_text, one_of
from talweg.spec.formulas._tree import (
    FUNCTIONS,
    INPUTS,
    MASK,
    MAX_DEPTH,
    MAX_EXPONENT,
    MAX_NODES,
    MAX_NUMBER,
    NUMBER,
    OPERATORS,
    Function,
    Input,
    Number,
    Operation,
    Term,
    gives,
    uses,
)
from talweg.spec.spelling import nearest

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A number is followed by no letter: Python would read 1if as 1 if.
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.])")
_SYMBOL = re.compile(r"\*\*|//|<<|>>|<=|>=|==|!=|:=|\S")
_ALLOWED = frozenset(["+", "-", "*", "/", "**", "(", ")", ",", "&", "|", "~"]) | frozenset(
    ["<", "<=", ">", ">=", "==", "!="]
)
_SYMBOLS = "numbers, names, ( ) , + - * / ** < <= > >= == != & | ~"
_HINTS = {
    "^": "write ** for a power",
    "//": "write / to divide",
    "=": "pass arguments by position; == compares",
    "!": "write ~ for not",
    "and": "write & between masks in ( )",
    "or": "write | between masks in ( )",
    "not": "write ~ before a mask in ( )",
    "if": "write where(mask, a, b)",
    "max": "did you mean 'maximum', or 'amax' for the largest of all?",
    "min": "did you mean 'minimum', or 'amin' for the smallest of all?",
    "pow": "write a ** b",
    "power": "write a ** b",
    "ln": "did you mean 'log'?",
    "std": "write sqrt(mean(square(x - mean(x))))",
}
_KINDS = {"[": "a subscript, '['", "'": 'a text, "\'"', '"': "a string, '\"'", ".": "an attribute"}
_BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
}
_COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


def parse(text: str, params: Mapping[str, float] | None = None, *, path: str = "formula") -> Term:
    """Read a formula.

    Args:
        text: Such as ``where(pred > target, k, 1) * abs(pred - target)``.
        params: The numbers that stand for further names.
        path: Where the formula stands, for the field of violations.

    Returns:
        The tree: numbers in place of parameters, known functions only, within all limits.

    Raises:
        SpecError: With all that was found wrong, each at its column.
    """
    reader = _Reader(params or {}, path)
    term = reader.read(text)
    if reader.violations or term is None:
        raise SpecError(reader.violations)
    return term


def param_problem(name: str) -> str:
    """Say why a parameter cannot have a name; empty where it can."""
    if not _NAME.fullmatch(name):
        return "letters, digits and underscores, not starting with a digit"
    if name in INPUTS or name in FUNCTIONS or keyword.iskeyword(name):
        return "a name that is not a built-in of formulas"
    return ""


class _Reader:
    """Reads one formula and collects what is wrong with it."""

    def __init__(self, params: Mapping[str, float], path: str) -> None:
        self.violations: list[Violation] = []
        self._params = params
        self._path = path
        self._names = (*INPUTS, *params, *FUNCTIONS)
        self._text = ""
        self._nodes = 0
        self._too_deep = False

    def read(self, text: str) -> Term | None:
        self._text = text
        indent = len(text) - len(text.lstrip(" "))
        if not text.strip():
            self._refuse("nothing", None, "a formula", "write such as abs(pred - target)")
            return None
        if not self._readable(text):
            return None
        try:
            tree = ast.parse(text[indent:], mode="eval")
        except SyntaxError as exc:
            # 0 stands for the end.
            column = (exc.offset or len(text) - indent + 1) + indent
            self._refuse(f"a syntax error ({exc.msg})", column, "a formula")
            return None
        except (ValueError, MemoryError, RecursionError):
            self._refuse("a formula nested too deeply", None, f"{MAX_DEPTH} levels")
            return None
        term = self._term(tree.body, indent, 1)
        if self.violations or term is None:
            return None
        if gives(term) == MASK:
            self._refuse("a mask as the result", term.column, "numbers", "write where(mask, a, b)")
        elif not uses(term, "pred"):
            self._refuse("a formula without pred", None, "a loss that depends on pred")
        return term

    def _refuse(self, found: str, column: int | None, allowed: str, hint: str = "") -> None:
        at = "" if column is None else f" at column {column}"
        self.violations.append(Violation(self._path, f"{found}{at}", allowed, hint))

    def _readable(self, text: str) -> bool:
        """Refuse all that is no number, name or operator, before Python's parser sees it."""
        position = 0
        while position < len(text):
            column = position + 1
            if text[position] == " ":
                position += 1
                continue
            word = _NAME.match(text, position)
            if word is not None:
                if keyword.iskeyword(word[0]):
                    hint = _HINTS.get(word[0], "")
                    self._refuse(f"the word '{word[0]}'", column, _SYMBOLS, hint)
                    return False
                position = word.end()
                continue
            number = _NUMBER.match(text, position)
            if number is not None:
                position = number.end()
                continue
            symbol = _SYMBOL.match(text, position)
            sign = text[position] if symbol is None else symbol[0]
            if sign not in _ALLOWED:
                self._refuse_sign(text, position, sign)
                return False
            position += len(sign)
        return True

    def _refuse_sign(self, text: str, position: int, sign: str) -> None:
        joined_on = re.compile(r"[0-9.][A-Za-z0-9_.]*").match(text, position)
        if joined_on is not None and (sign != "." or position + 1 < len(text)):
            word = joined_on[0]
            found = f"an attribute, '{word}'," if sign == "." else f"'{word}'"
            hint = "" if sign == "." else "write numbers as 1000 or 1e3, and * between factors"
            self._refuse(found, position + 1, _SYMBOLS, hint)
            return
        found = _KINDS.get(sign) or (f"'{sign}'" if sign.isprintable() else repr(sign))
        self._refuse(found, position + 1, _SYMBOLS, _HINTS.get(sign, ""))

    def _term(self, node: ast.expr, indent: int, depth: int) -> Term | None:
        column = node.col_offset + 1 + indent
        self._nodes += 1
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                allowed = f"at most {MAX_NODES} numbers, names, operators and calls"
                self._refuse("a formula that is too long", column, allowed)
            return None
        if depth > MAX_DEPTH:
            if not self._too_deep:
                allowed = f"at most {MAX_DEPTH} nested operators and calls"
                hint = "put ( ) around the halves of a long sum or product"
                self._refuse("one level more", column, allowed, hint)
            self._too_deep = True
            return None
        if isinstance(node, ast.Constant):
            return self._number(node.value, column)
        if isinstance(node, ast.Name):
            return self._name(node.id, column)
        if isinstance(node, ast.Call):
            return self._call(node, column, indent, depth)
        sign, parts = self._operator(node, column)
        if not sign:
            return None
        if len(parts) == 2:
            # Python tells where the left side begins, people look for the operator.
            left_end = (parts[0].end_col_offset or 0) + indent
            column = self._text.index(sign, left_end) + 1
        terms = [self._term(part, indent, depth + 1) for part in parts]
        return self._operation(sign, OPERATORS[sign], terms, column)

    def _operator(self, node: ast.expr, column: int) -> tuple[str, list[ast.expr]]:
        """Give an operator and what it stands between; '' after having refused it."""
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return _BINARY[type(node.op)], [node.left, node.right]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return "negative", [node.operand]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
            return "~", [node.operand]
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return _COMPARISONS[type(node.ops[0])], [node.left, node.comparators[0]]
        if isinstance(node, ast.Compare):
            found, hint = "a chain of comparisons", "write (a < b) & (b < c)"
        elif isinstance(node, ast.UnaryOp):
            found, hint = "a + before a single term", "leave it out"
        elif isinstance(node, ast.Tuple):
            found, hint = "several terms joined by commas", "a formula has one value"
        else:
            found, hint = "something other than arithmetic", ""
        self._refuse(found, column, "numbers, names, operators and calls of functions", hint)
        return "", []

    def _number(self, value: object, column: int) -> Term | None:
        assert isinstance(value, (int, float)), "no other constant passes _readable"
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if number > MAX_NUMBER:
            self._refuse("a huge number", column, f"numbers up to {number_text(MAX_NUMBER)}")
            return None
        return Number(number, column)

    def _name(self, name: str, column: int) -> Term | None:
        if name in INPUTS:
            return Input(name, column)
        if name in self._params:
            return Number(self._params[name], column)
        if name in FUNCTIONS:
            self._refuse(f"'{name}' without arguments", column, _signature(name))
        else:
            self._refuse_name(name, column)
        return None

    def _refuse_name(self, name: str, column: int) -> None:
        hint = _HINTS.get(name) or nearest(name, self._names)
        self._refuse(f"'{name}'", column, one_of(self._names), hint)

    def _call(self, node: ast.Call, column: int, indent: int, depth: int) -> Term | None:
        if not isinstance(node.func, ast.Name):
            self._refuse("a call of something other than a function", column, one_of(FUNCTIONS))
            return None
        name = node.func.id
        if name not in FUNCTIONS:
            if name in INPUTS or name in self._params:
                hint = f"write * to multiply: {name} * (…)"
                self._refuse(f"a call of '{name}'", column, one_of(FUNCTIONS), hint)
            else:
                self._refuse_name(name, column)
            return None
        if node.keywords:
            self._refuse(f"'{name}' with keyword arguments", column, _signature(name))
            return None
        function = FUNCTIONS[name]
        arguments, dimension = list(node.args), None
        if function.reduces and len(arguments) == len(function.arguments) + 1:
            dimension = self._dimension(arguments.pop(), indent)
            if dimension is None:
                return None
        if len(arguments) != len(function.arguments):
            number = len(node.args)
            found = f"'{name}' with {number} argument{'' if number == 1 else 's'}"
            self._refuse(found, column, _signature(name))
            return None
        terms = [self._term(argument, indent, depth + 1) for argument in arguments]
        return self._operation(name, function, terms, column, dimension)

    def _dimension(self, node: ast.expr, indent: int) -> int | None:
        sign = 1
        column = node.col_offset + 1 + indent
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, node = -1, node.operand
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value < 8:
            return sign * node.value
        allowed = "a dimension's number, such as 1 or -1"
        self._refuse("another second argument", column, allowed)
        return None

    def _operation(
        self,
        name: str,
        function: Function,
        terms: list[Term | None],
        column: int,
        dimension: int | None = None,
    ) -> Term | None:
        known = [term for term in terms if term is not None]
        if len(known) < len(terms):
            return None
        for index in function.masks:
            if gives(known[index]) != MASK:
                allowed = f"a comparison for '{name}', such as (pred > target)"
                hint = "put each comparison in ( )" if name in OPERATORS else ""
                self._refuse(NUMBER, known[index].column, allowed, hint)
                return None
        if name == "**" and not self._allowed_exponent(known[1]):
            return None
        return Operation(name, tuple(known), column, dimension)

    def _allowed_exponent(self, term: Term) -> bool:
        value = _constant(term)
        high = number_text(MAX_EXPONENT)
        if value is None:
            self._refuse(
                "an exponent that is not a number",
                term.column,
                "numbers and parameters joined by + - * /",
                "write exp(b * log(a)) for others",
            )
        elif not abs(value) <= MAX_EXPONENT:
            self._refuse("a huge exponent", term.column, f"exponents from -{high} to {high}")
        else:
            return True
        return False


def _signature(name: str) -> str:
    return f"{name}({', '.join(FUNCTIONS[name].arguments)})"


def _constant(term: Term) -> float | None:
    """Give the value of numbers joined by + - * /; None for all else, NaN where there is none."""
    if isinstance(term, Number):
        return term.value
    if isinstance(term, Input) or term.name not in ("+", "-", "*", "/", "negative"):
        return None
    values = [_constant(part) for part in term.terms]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if term.name == "negative":
        return -known[0]
    left, right = known
    if term.name == "+":
        return left + right
    if term.name == "-":
        return left - right
    if term.name == "*":
        return left * right
    return left / right if right else float("nan")
