"""Formulas: what may be said, and where what may not be said stands."""

import ast
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.proto.specs import base, checked, refused

from talweg.spec import (
    SpecError,
    check_message,
    fill,
    flatten,
    formulas,
    from_dict,
    label,
    to_yaml,
)
from talweg.spec import parse as parse_file
from talweg.spec.formulas import MASK, Input, Number, Operation, Term
from talweg.v1.losses_pb2 import Expression, Loss

GOOD = "where(pred > target, k * (pred - target)**2, (pred - target)**2)"


def written(term: Term) -> str:
    """Return a tree as a text, every operation with its terms in ( )."""
    if isinstance(term, Number):
        return f"{term.value:g}"
    if isinstance(term, Input):
        return term.name
    along = "" if term.dimension is None else f"[{term.dimension}]"
    return f"{term.name}{along}({', '.join(map(written, term.terms))})"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("pred", "pred"),
        ("  pred ", "pred"),
        ("pred - target - 1", "-(-(pred, target), 1)"),
        ("pred - 2 * target", "-(pred, *(2, target))"),
        ("-pred**2", "negative(**(pred, 2))"),
        ("pred**-2", "**(pred, negative(2))"),
        ("pred**(1/2)", "**(pred, /(1, 2))"),
        ("pred**(k + 1)", "**(pred, +(2.5, 1))"),
        ("k*pred", "*(2.5, pred)"),
        (".5e+1*pred + 2.", "+(*(5, pred), 2)"),
        ("clamp(pred, -1, k)", "clamp(pred, negative(1), 2.5)"),
        ("where((pred > 0) & ~(target == 1) | (pred != 2), pred, 0)",
         "where(|(&(>(pred, 0), ~(==(target, 1))), !=(pred, 2)), pred, 0)"),
        ("(pred >= 1) * pred", "*(>=(pred, 1), pred)"),
        ("mean(pred)", "mean(pred)"),
        ("amax(pred, 1)", "amax[1](pred)"),
        ("sum(pred, -1)", "sum[-1](pred)"),
    ],
)  # fmt: skip
def test_trees(text: str, tree: str) -> None:
    assert written(formulas.parse(text, {"k": 2.5})) == tree


def test_columns_in_a_tree() -> None:
    root = formulas.parse("  abs(pred - target)")
    assert isinstance(root, Operation)
    (difference,) = root.terms
    assert isinstance(difference, Operation)
    assert (root.column, difference.column) == (3, 12)
    assert [term.column for term in difference.terms] == [7, 14]


# formula, what stands there, at which column, part of what is allowed or of the hint
REFUSED: list[tuple[str, str, int | None, str]] = [
    ("abs(pred) + prd", "'prd'", 13, "did you mean 'pred'?"),
    ("  sqr(pred)", "'sqr'", 3, "did you mean 'sqrt'?"),
    ("max(pred, target)", "'max'", 1, "did you mean 'maximum'"),
    ("pred - kk", "'kk'", 8, "pred, target, k, abs"),
    ("exec(pred)", "'exec'", 1, "pred, target, k, abs"),
    ("__import__(pred)", "'__import__'", 1, ""),
    ("abs + pred", "'abs' without arguments", 1, "abs(x)"),
    ("pred.grad", "an attribute, '.grad',", 5, ""),
    ("abs(pred).mean(1)", "an attribute, '.mean',", 10, ""),
    ("pred . x", "an attribute, '.',", 6, ""),
    ("...", "an attribute, '...',", 1, ""),
    ("pred[0]", "a subscript, '['", 5, ""),
    ("[pred]", "a subscript, '['", 1, ""),
    ("mean(x=pred)", "'='", 7, "pass arguments by position"),
    ("mean(**pred)", "'mean' with keyword arguments", 1, "mean(x)"),
    ("mean(*pred)", "something other than arithmetic", 6, ""),
    ("pred + 'a'", 'a text, "\'"', 8, ""),
    ('pred + "a"', "a string, '\"'", 8, ""),
    ("lambda x: x", "the word 'lambda'", 1, ""),
    ("mean(x for x in pred)", "the word 'for'", 8, ""),
    ("pred if k else 1", "the word 'if'", 6, "where(mask, a, b)"),
    ("(pred > 0) and (k > 0)", "the word 'and'", 12, "write &"),
    ("not pred", "the word 'not'", 1, "write ~"),
    ("True * pred", "the word 'True'", 1, ""),
    ("(x := pred)", "':='", 4, ""),
    ("pred = 1", "'='", 6, ""),
    ("pred; pred", "';'", 5, ""),
    ("pred # no", "'#'", 6, ""),
    ("pred \\", "'\\'", 6, ""),
    ("pred\n", "'\\n'", 5, ""),
    ("pred\t+ 1", "'\\t'", 5, ""),
    ("λ * pred", "'λ'", 1, ""),
    ("pred^2", "'^'", 5, "write ** for a power"),
    ("pred // 2", "'//'", 6, "write / to divide"),
    ("pred @ pred", "'@'", 6, ""),
    ("pred % 2", "'%'", 6, ""),
    ("1_000 * pred", "'1_000'", 1, "1e3"),
    ("0x1f * pred", "'0x1f'", 1, ""),
    ("2pred", "'2pred'", 1, "* between factors"),
    ("pred * 1j", "'1j'", 8, ""),
    ("pred * 1.5.2", "'1.5.2'", 8, ""),
    ("1if", "'1if'", 1, ""),
    ("pred +", "a syntax error", 7, ""),
    ("abs(pred", "a syntax error", 4, ""),
    ("pred)", "a syntax error", 5, ""),
    ("pred target", "a syntax error", 6, ""),
    ("(" * 300 + "pred", "a syntax error", 201, ""),
    ("pred, target", "several terms joined by commas", 1, ""),
    ("pred + ()", "several terms joined by commas", 8, ""),
    ("+pred", "a + before a single term", 1, ""),
    ("(1)(2)", "a call of something other than a function", 1, ""),
    ("abs(abs)(pred)", "a call of something other than a function", 1, ""),
    ("2 * pred(1)", "a call of 'pred'", 5, "pred * (…)"),
    ("k(pred)", "a call of 'k'", 1, "k * (…)"),
    ("abs()", "'abs' with 0 arguments", 1, "abs(x)"),
    ("log(pred, 2)", "'log' with 2 arguments", 1, "log(x)"),
    ("clamp(pred)", "'clamp' with 1 argument", 1, "clamp(x, low, high)"),
    ("mean(pred, k)", "another second argument", 12, "1 or -1"),
    ("mean(pred, 1.0)", "another second argument", 12, "1 or -1"),
    ("mean(pred, 999)", "another second argument", 12, "1 or -1"),
    ("mean(pred, 1, 2)", "'mean' with 3 arguments", 1, ""),
    ("0 < pred < 1", "a chain of comparisons", 1, "(a < b) & (b < c)"),
    ("pred > 0 & target > 0", "a chain of comparisons", 1, ""),
    ("where(pred, 1, 0)", "a number", 7, "a comparison for 'where'"),
    ("where(~pred, 1, 0)", "a number", 8, "a comparison for '~'"),
    ("where((pred > 0) & k, 1, 0)", "a number", 20, "a comparison for '&'"),
    ("pred > target", "a mask as the result", 6, "where(mask, a, b)"),
    ("target", "a formula without pred", None, "depends on pred"),
    ("1", "a formula without pred", None, ""),
    ("", "nothing", None, "abs(pred - target)"),
    ("   ", "nothing", None, ""),
    ("10**10**10 * pred", "an exponent that is not a number", 7, ""),
    ("pred**10**10", "an exponent that is not a number", 9, ""),
    ("pred**target", "an exponent that is not a number", 7, "exp(b * log(a))"),
    ("pred**1e9", "a huge exponent", 7, "-100 to 100"),
    ("pred**(-k * 50)", "a huge exponent", 11, "-100 to 100"),
    ("pred**(1/0)", "a huge exponent", 9, ""),
    ("1e31 * pred", "a huge number", 1, "1e+30"),
    ("1e999 * pred", "a huge number", 1, ""),
    ("9" * 1500 + " * pred", "a huge number", 1, ""),
    ("-" * 30 + "pred", "one level more", 21, "at most 20 nested"),
    ("-" * 1900 + "pred", "one level more", 21, "at most 20 nested"),
    ("abs(" * 20 + "pred" + ")" * 20, "one level more", 81, "at most 20 nested"),
    (" + ".join(["pred"] * 22), "one level more", 1, "halves of a long sum"),
]


@pytest.mark.parametrize(
    ("text", "found", "column", "says"), REFUSED, ids=[row[0][:50] for row in REFUSED]
)
def test_refusals(text: str, found: str, column: int | None, says: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SpecError) as error:
            formulas.parse(text, {"k": 2.5}, path="loss.expression.formula")
    violation = error.value.violations[0]
    assert violation.field == "loss.expression.formula"
    # Python says which error of syntax, each version in words of its own.
    said = re.sub(r"(a syntax error) \(.*\)", r"\1", violation.found)
    assert said == (found if column is None else f"{found} at column {column}")
    assert says in f"{violation.allowed} {violation.hint}"


def test_several_errors_at_once() -> None:
    with pytest.raises(SpecError) as error:
        formulas.parse("sqr(pred) + abs(trget) + log(pred, 2)")
    assert [v.found for v in error.value.violations] == [
        "'sqr' at column 1",
        "'trget' at column 17",
        "'log' with 2 arguments at column 26",
    ]


def halves(number: int) -> str:
    """Return a sum of `number` times pred in a balanced tree, so that it is wide and not deep."""
    if number == 1:
        return "pred"
    return f"({halves(number // 2)}+{halves(number - number // 2)})"


def test_limits_hold_on_both_sides() -> None:
    formulas.parse("abs(" * 19 + "pred" + ")" * 19)
    formulas.parse("1e30 * pred**100")
    # n names and n - 1 additions.
    formulas.parse(f"-{halves(100)}")
    with pytest.raises(SpecError, match="too long at column .*; allowed at most 200 numbers") as e:
        formulas.parse(halves(101))
    assert len(e.value.violations) == 1


def test_every_function_is_known_by_its_number_of_arguments() -> None:
    for name, function in formulas.FUNCTIONS.items():
        masks = ["pred > 1" if i in function.masks else "pred" for i in range(9)]
        count = len(function.arguments)
        term = formulas.parse(f"{name}({', '.join(masks[:count])})")
        assert isinstance(term, Operation)
        assert (term.name, formulas.gives(term)) == (name, function.gives)
        with pytest.raises(SpecError):
            formulas.parse(f"{name}({', '.join(masks[: count + 2])})")


def test_masks() -> None:
    term = formulas.parse("where(pred > 0, 1, pred)")
    assert isinstance(term, Operation)
    assert formulas.gives(term.terms[0]) == MASK


@pytest.mark.parametrize(
    "node",
    [node for node in vars(ast).values() if isinstance(node, type) and issubclass(node, ast.expr)],
)
def test_no_other_node_of_python_has_a_way_in(node: type[ast.expr]) -> None:
    """All that Python calls an expression, beside what the table above holds."""
    samples = {
        "Await": "await pred", "Dict": "{1: pred}", "DictComp": "{x: x for x in pred}",
        "FormattedValue": "f'{pred}'", "GeneratorExp": "(x for x in pred)",
        "IfExp": "1 if k else pred",
        "JoinedStr": "f'{pred}'", "Lambda": "lambda: pred", "List": "[pred]",
        "ListComp": "[x for x in pred]", "NamedExpr": "(x := pred)", "Set": "{pred}",
        "SetComp": "{x for x in pred}", "Slice": "pred[1:2]", "Starred": "abs(*pred)",
        "Subscript": "pred[0]", "Tuple": "(pred, pred)", "Yield": "(yield pred)",
        "YieldFrom": "(yield from pred)", "Attribute": "pred.T", "BoolOp": "pred and k",
    }  # fmt: skip
    allowed = {"expr", "BinOp", "UnaryOp", "Compare", "Call", "Constant", "Name"}
    old = {"Num", "Str", "Bytes", "NameConstant", "Ellipsis", "TemplateStr", "Interpolation"}
    if node.__name__ in allowed | old:
        return
    with pytest.raises(SpecError):
        formulas.parse(samples[node.__name__], {"k": 1.0})


def expression(formula: str, **params: float) -> dict[str, Any]:
    return base(loss={"expression": {"formula": formula, "params": params}})


def test_a_job_with_a_formula_is_in_order() -> None:
    violations, warned = checked(expression(GOOD, k=2.0))
    assert (violations, warned) == ([], [])
    assert checked(base(loss={"expression": "abs(pred - target)"}))[0] == []


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_the_tasks_of_a_formula(task: str) -> None:
    data = {"binary": "breast_cancer", "multilabel": "synthetic_multilabel"}[task]
    job = base(task=task, dataset=data, loss={"expression": "softplus(pred) - pred * target"})
    assert checked(job)[0] == []
    job = base(task="multiclass", dataset="digits", loss={"expression": "abs(pred - target)"})
    (violation,) = checked(job)[0]
    assert violation.found == "expression under task multiclass"


def test_violations_stand_with_their_field() -> None:
    (violation,) = checked(expression("k * prd"))[0][:1]
    assert violation.field == "loss.expression.formula"
    terms = [{"loss": "mse"}, {"loss": {"expression": {"formula": "abs(prd - target)"}}}]
    (violation,) = checked(base(loss={"sum": {"terms": terms}}))[0]
    assert violation.field == "loss.sum.terms[1].loss.expression.formula"
    assert violation.found == "'prd' at column 5"
    (violation,) = check_message(Expression(formula="pred" * 501), "x")
    assert violation.found == "2004 characters"
    (violation,) = check_message(Expression(formula="pred\n"), "x")
    assert violation.allowed == "text without control characters"


@pytest.mark.parametrize(
    ("name", "says"),
    [("a b", "letters"), ("", "letters"), ("2k", "letters"), ("λ", "letters"), ("a.b", "letters"),
     ("pred", "built-in"), ("target", "built-in"), ("abs", "built-in"),
     ("lambda", "built-in")],
)  # fmt: skip
def test_names_of_parameters(name: str, says: str) -> None:
    violations = check_message(Expression(formula="pred", params={name: 1.0}), "x")
    assert [v.field for v in violations] == ["x.params"]
    assert says in violations[0].allowed


def test_sizes_of_parameters() -> None:
    message = Expression(formula="k * pred", params={"k": 1e31, "j": float("nan"), "l": -1e30})
    assert {v.field for v in check_message(message, "x")} == {"x.params.k", "x.params.j"}
    assert [v.field for v in refused(expression("pred", k="2"))] == ["loss.expression.params.k"]  # type: ignore[arg-type]
    many = Expression(formula="pred", params={f"k{i}": 1.0 for i in range(51)})
    assert [v.found for v in check_message(many, "x")] == ["51 items"]


def test_a_formula_in_words_and_files() -> None:
    spec = fill(from_dict(expression(GOOD, k=2.0, b=0.5)))
    assert parse_file(to_yaml(spec)) == spec
    flat = flatten(spec)
    assert flat["loss"] == "expression"
    assert flat["loss.expression.formula"] == GOOD
    assert flat["loss.expression.params.k"] == "2"
    assert label(spec.loss) == f"expression formula={GOOD} b=0.5 k=2"
    assert label(Loss(expression=Expression(formula="pred"))) == "expression formula=pred"


def test_the_documentation_names_every_function() -> None:
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")
    for name in formulas.FUNCTIONS:
        assert re.search(rf"`{name}[`(]", page), name
    assert f"{formulas.MAX_NODES} numbers, names" in page
    assert f"{formulas.MAX_DEPTH} levels" in page
    assert f"exponents up to {formulas.MAX_EXPONENT:g}" in page
