import pickle

import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import code_pb2, error_details_pb2, status_pb2

from talweg.client import (
    AlreadyExists,
    BatchError,
    FailedPrecondition,
    InvalidRequest,
    InvalidSpec,
    JobFailed,
    JobResult,
    JobState,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServerError,
    TalwegError,
    Unavailable,
    Violation,
    WaitTimeout,
)
from talweg.client._errors import from_status
from talweg.v1.jobs_pb2 import Job, Outcome


def status(code: str, reason: str = "", *violations: tuple[str, str]) -> status_pb2.Status:
    found = status_pb2.Status(code=code_pb2.Code.Value(code), message="what happened")
    details: list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest] = []
    if reason:
        details.append(
            error_details_pb2.ErrorInfo(reason=reason, domain="talweg", metadata={"job": "jobs/a"})
        )
    if violations:
        request = error_details_pb2.BadRequest()
        for field, description in violations:
            request.field_violations.add(field=field, description=description)
        details.append(request)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        found.details.append(packed)
    return found


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("INVALID_ARGUMENT", "INVALID_SPEC", InvalidSpec),
        ("INVALID_ARGUMENT", "BAD_FILTER", InvalidRequest),
        ("INVALID_ARGUMENT", "", InvalidRequest),
        ("NOT_FOUND", "JOB_NOT_FOUND", NotFound),
        ("ALREADY_EXISTS", "REQUEST_ID_REUSED", AlreadyExists),
        ("FAILED_PRECONDITION", "JOB_ENDED", FailedPrecondition),
        ("ABORTED", "STALE_LEASE", FailedPrecondition),
        ("UNAVAILABLE", "", Unavailable),
        ("DEADLINE_EXCEEDED", "", Unavailable),
        ("INTERNAL", "", ServerError),
        ("UNIMPLEMENTED", "", ServerError),
        ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", ResourceExhausted),
        ("UNAUTHENTICATED", "", PermissionDenied),
        ("PERMISSION_DENIED", "", PermissionDenied),
    ],
)
def test_table(code: str, reason: str, kind: type[TalwegError]) -> None:
    error = from_status(status(code, reason), address="host:1")
    assert type(error) is kind
    assert error.reason == reason
    assert "what happened" in str(error)
    assert dict(error.metadata) == ({"job": "jobs/a"} if reason else {})


def test_violations_come_through_whole() -> None:
    error = from_status(
        status(
            "INVALID_ARGUMENT",
            "INVALID_SPEC",
            ("loss.huber.delta", "found -1; allowed a number > 0."),
            ("traning", "found \"traning\"; allowed one of a, b. did you mean 'training'?"),
        )
    )
    assert isinstance(error, InvalidSpec)
    assert error.violations == (
        Violation("loss.huber.delta", "-1", "a number > 0"),
        Violation("traning", '"traning"', "one of a, b", "did you mean 'training'?"),
    )
    assert error.violations[0].description == "found -1; allowed a number > 0."
    assert str(error).splitlines() == [str(violation) for violation in error.violations]


def test_code_of_a_newer_server_is_a_server_error() -> None:
    assert type(from_status(status_pb2.Status(code=99, message="new"))) is ServerError


def test_kinds_fit_pythons_own() -> None:
    assert issubclass(InvalidSpec, ValueError)
    assert issubclass(WaitTimeout, TimeoutError)


def test_nobody_there_says_where_and_what_to_do() -> None:
    text = str(from_status(status("UNAVAILABLE"), address="host:1"))
    assert "host:1" in text
    assert "talweg up" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ipv4:127.0.0.1:7070: Socket closed", "If it serves with TLS, name the CA"),
        ("Tls handshake failed (TSI_PROTOCOL_FAILURE)", "Either it serves without TLS"),
        ("Hostname Verification Check failed.", "Its certificate is for other names"),
    ],
)
def test_a_server_that_speaks_tls_otherwise_is_not_told_to_be_started(
    words: str, said: str
) -> None:
    found = status_pb2.Status(code=code_pb2.UNAVAILABLE, message=words)
    assert said in str(from_status(found, address="lab:7070"))


def test_server_that_is_there_but_cannot_is_not_told_to_be_started() -> None:
    text = str(from_status(status("UNAVAILABLE", "DATABASE_BUSY"), address="host:1"))
    assert "host:1" in text
    assert "talweg up" not in text


def test_batch_error_lists_ten_and_counts_the_rest() -> None:
    error = BatchError([NotFound(f"number {index}") for index in range(25)])
    assert len(error.failures) == 25
    assert "25 of 25" in str(error)
    assert "specs[9]: number 9" in str(error)
    assert "number 10" not in str(error)
    assert str(error).endswith("and 15 more")


def test_errors_pass_between_processes() -> None:
    outcome = Outcome(state=Job.FAILED, message="no memory")
    result = JobResult("jobs/a", JobState.FAILED, {"val/mae": 1.0}, {}, "no memory", None)
    for error in (
        InvalidSpec(violations=[Violation("a", "1", "2")], source="job.yaml", reason="R"),
        JobFailed("it failed", result=result, outcome=outcome),
        BatchError([NotFound("x")]),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy).keys() == vars(error).keys()
    assert copy.failures[0][0] == 0
