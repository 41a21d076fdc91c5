"""The table of errors, and what of it reaches a caller."""

import inspect
import re
from pathlib import Path

import grpc
from google.rpc import error_details_pb2, status_pb2

from talweg.server import errors
from talweg.server.calls.statuses import TABLE, to_status
from talweg.server.errors import FieldProblem, InvalidSpec

ABSTRACT = {errors.ServerError, errors.Unavailable}


def details(status: status_pb2.Status) -> tuple[error_details_pb2.ErrorInfo, list[FieldProblem]]:
    """ErrorInfo, and the violations of BadRequest."""
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    for packed in status.details:
        packed.Unpack(info) or packed.Unpack(request)
    violations = [FieldProblem(v.field, v.description, v.reason) for v in request.field_violations]
    return info, violations


def test_every_error_of_a_call_is_in_the_table() -> None:
    raised = {
        error
        for _, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, errors.ServerError) and not issubclass(error, errors.CannotStart)
    }
    assert set(TABLE) == raised - ABSTRACT
    reasons = [mapped.reason for mapped in TABLE.values()]
    assert len(set(reasons)) == len(reasons)


def test_the_page_of_the_api_has_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs/api.md").read_text(encoding="utf-8")
    section = page.split("\n## Errors\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| ([A-Z_]+) \| ([^|]+) \|", section, re.M)
    described = {
        (code, reason) for code, reasons in rows for reason in re.findall("`(.+?)`", reasons)
    }
    assert described == {(mapped.code.name, mapped.reason) for mapped in TABLE.values()}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = [
        line.strip("│├└─ ").split()[0] for line in (errors.__doc__ or "").split("\n")[2:] if line
    ]
    defined = {
        name
        for name, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, errors.ServerError)
    }
    assert sorted(drawn) == sorted(defined)


def test_an_error_has_its_code_reason_and_fields() -> None:
    status = to_status(errors.RequestIdReused("r", "jobs/a"))
    info, violations = details(status)
    assert status.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    assert (info.reason, info.domain) == ("REQUEST_ID_REUSED", "talweg")
    assert dict(info.metadata) == {"job": "jobs/a", "request_id": "r"}
    assert [violation.field for violation in violations] == ["request_id"]


def test_many_violations_fit_into_a_clients_limit() -> None:
    problems = [FieldProblem(f"loss.sum.terms[{i}].weight", "found -1; " * 9) for i in range(500)]
    error = InvalidSpec("; ".join(map(str, problems)), fields=problems)
    status = to_status(error)
    _, violations = details(status)
    assert status.ByteSize() < 6_000
    assert violations[:10] == problems[:10]
    assert violations[-1].description == f"and {500 - len(violations) + 1} more"
    assert details(to_status(error, room=100_000))[1] == problems
