"""Filters and orders: what is read, and what is refused with its place."""

import pytest

from talweg.server.errors import BadFilter, BadOrder
from talweg.server.queries.filters import parse_filter, parse_order
from talweg.server.store.listing import Condition, OrderKey
from talweg.v1.jobs_pb2 import Job


def is_(field: str, value: str | int, key: str = "") -> Condition:
    return Condition(field, "=", value, key)


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", []),
        ("   ", []),
        ("state = RUNNING", [[is_("state", Job.RUNNING)]]),
        ("state=RUNNING", [[is_("state", Job.RUNNING)]]),
        ('loss = "huber"', [[is_("loss", "huber")]]),
        ("loss != huber", [[Condition("loss", "!=", "huber")]]),
        ("(task = regression)", [[is_("task", "regression")]]),
        (
            '(state = RUNNING OR state = QUEUED) AND loss = "huber"',
            [[is_("state", Job.RUNNING), is_("state", Job.QUEUED)], [is_("loss", "huber")]],
        ),
        (
            "(loss = mse OR loss != mae OR loss = huber)",
            [[is_("loss", "mse"), Condition("loss", "!=", "mae"), is_("loss", "huber")]],
        ),
        ("tags.team = a-b.c/d", [[is_("tags", "a-b.c/d", "team")]]),
        ("tags.a.b = 1", [[is_("tags", "1", "a.b")]]),
        ('tags."my key" = ""', [[is_("tags", "", "my key")]]),
        (r'worker = "say \"hi\" \\"', [[is_("worker", 'say "hi" \\')]]),
        ("worker = AND AND worker = (OR", None),
        ("worker = AND AND loss = mse", [[is_("worker", "AND")], [is_("loss", "mse")]]),
        ('experiment = "AND"', [[is_("experiment", "AND")]]),
        ("name = jobs/k3*", [[is_("name", "jobs/k3*")]]),
        ("metrics.test/mae < 50", [[Condition("metrics", "<", 50.0, "test/mae")]]),
        (
            '(metrics."val/loss" <= -1e-3 OR metrics.val/loss > 2)',
            [
                [
                    Condition("metrics", "<=", -0.001, "val/loss"),
                    Condition("metrics", ">", 2.0, "val/loss"),
                ]
            ],
        ),
        (
            "create_time >= 1970-01-01T00:00:02Z",
            [[Condition("create_time", ">=", 2_000_000)]],
        ),
        (
            'create_time < "1970-01-01T01:00:00.5+01:00"',
            [[Condition("create_time", "<", 500_000)]],
        ),
    ],
)
def test_reads(text: str, clauses: list[list[Condition]] | None) -> None:
    if clauses is None:
        with pytest.raises(BadFilter):
            parse_filter(text)
    else:
        assert parse_filter(text) == clauses


@pytest.mark.parametrize(
    ("text", "position", "found", "allowed"),
    [
        ("stat = RUNNING", 1, "'stat'", "did you mean 'state'?"),
        ("state = RUNING", 9, "'RUNING'", "did you mean 'RUNNING'?"),
        ("state = running", 9, "'running'", "did you mean 'RUNNING'?"),
        ("state = 2", 9, "'2'", "QUEUED, RUNNING"),
        ("state = STATE_UNSPECIFIED", 9, "'STATE_UNSPECIFIED'", "QUEUED"),
        ("loss = hubr", 8, "'hubr'", "did you mean 'huber'?"),
        ("task = regresion", 8, "'regresion'", "did you mean 'regression'?"),
        ("loss < mse", 6, "'<'", "= !="),
        ("name = k3", 8, "'k3'", "jobs/ID, or jobs/PREFIX*"),
        ("state", 6, "the end", "an operator"),
        ("state =", 8, "the end", "a value"),
        ("state = = RUNNING", 9, "'='", "a word"),
        ("state = (", 9, "'('", "a word"),
        ('"state" = RUNNING', 1, "'\"state\"'", "state, loss"),
        ("state RUNNING", 7, "'RUNNING'", "= !="),
        ("state = RUNNING loss = mse", 17, "'loss'", "AND, or the end"),
        ("state = RUNNING OR state = QUEUED", 17, "OR", "in parentheses"),
        ("state = RUNNING AND", 20, "the end", "a field"),
        ("(state = RUNNING", 17, "the end", 'OR, or ")"'),
        ("(state = RUNNING AND loss = mse)", 18, "'AND'", "OR"),
        ("(state = RUNNING OR loss = mse)", 21, "loss", "several values of one field"),
        ("(tags.a = 1 OR tags.b = 1)", 16, "tags.b", "tags.a"),
        ("((state = RUNNING))", 2, "'('", "state, loss"),
        ("state = RUNNING)", 16, "')'", "AND, or the end"),
        ("tags. = a", 1, "'tags.'", "tags.KEY"),
        ("tags.KEY. = a AND tag = b", 19, "'tag'", "tags.KEY"),
        ('loss = "hub', 8, "an unterminated quote", 'a closing "'),
        ("create_time > yesterday", 15, "'yesterday'", "RFC 3339"),
        ("create_time > 2026-01-31T18:00:00", 15, "'2026-01-31T18:00:00'", "RFC 3339"),
        ("metrics.test/mae = 50", 18, "'='", "<= >= < >"),
        ("metrics.test/mae < fifty", 20, "'fifty'", "a finite number"),
        ("metrics.test/mae < nan", 20, "'nan'", "a finite number"),
        ("metric.mae < 1", 1, "'metric.mae'", "metrics.KEY"),
        ('tags "team" = a', 1, "'tags'", "tags.KEY"),
        ("worker = \0", 10, "a NUL character", "without"),
    ],
)
def test_refuses(text: str, position: int, found: str, allowed: str) -> None:
    with pytest.raises(BadFilter) as caught:
        parse_filter(text)
    (problem,) = caught.value.fields
    assert problem.field == "filter"
    assert problem.description.startswith(f"at position {position}: found {found}; allowed: ")
    assert allowed in problem.description


@pytest.mark.parametrize("text", ["x" * 10_001, " AND ".join(["loss = mse"] * 201)])
def test_refuses_what_is_too_long(text: str) -> None:
    with pytest.raises(BadFilter, match="<= "):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", [OrderKey("create_time", True)]),
        ("create_time", [OrderKey("create_time")]),
        ("priority desc, create_time", [OrderKey("priority", True), OrderKey("create_time")]),
        ("loss asc,state  desc", [OrderKey("loss"), OrderKey("state", True)]),
    ],
)
def test_reads_orders(text: str, keys: list[OrderKey]) -> None:
    assert parse_order(text) == keys


@pytest.mark.parametrize(
    "text", ["time", "create_time down", "create_time desc desc", ",", "loss,,", "loss, loss desc"]
)
def test_refuses_orders(text: str) -> None:
    with pytest.raises(BadOrder, match="order_by: found"):
        parse_order(text)
