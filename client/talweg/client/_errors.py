"""The errors of the client.

TalwegError
├── InvalidRequest          an argument is invalid; also a ValueError
│   └── InvalidSpec         a spec is invalid; with all violations
├── NotFound                the job or sweep does not exist
├── AlreadyExists           the request id was used for another request
├── FailedPrecondition      the state of the job or sweep does not allow it
├── PermissionDenied        the server does not know the token, or it does not allow the call
├── ResourceExhausted       a quota or a limit allows no more
├── Unavailable             no server, or none that answers in time
├── ServerError             any other error of the server
├── BatchError              some jobs of a batch were refused
├── JobFailed               the result of a job that did not succeed
├── WaitTimeout             a job or sweep did not end in time; also a TimeoutError
└── MissingExtra            packages are not installed here; also an ImportError
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from talweg.spec import SpecError, Violation
from talweg.spec.refusals import DETAILS, NOT_BEGUN

if TYPE_CHECKING:
    import grpc

    from talweg.client._jobs import Job
    from talweg.client._values import JobResult
    from talweg.client.aio import AsyncJob
    from talweg.v1.jobs_pb2 import Outcome

M = TypeVar("M", bound=Message)

HOW_TO_START = (
    "Start a stack on this machine with `talweg up`, or set the address of a server with"
    " TALWEG_ADDRESS=HOST:PORT or `talweg --address HOST:PORT`."
)
# What gRPC says where a server's certificate has other names, or is of another CA; where one side
# alone speaks TLS; and where a server hangs up, as one does that takes TLS alone.
_NOT_KNOWN = "Hostname Verification Check failed"
_OTHER_TLS = "handshake"
_CUT_OFF = ("Socket closed", "Connection reset")
_OTHER_NAME = (
    "Its certificate is for other names: call it by one of them, or have one made for this name "
    "(talweg cert issue)."
)
_WITH_TLS = (
    "Either it serves without TLS, or its certificate is not of the CA that TALWEG_CA_FILE or "
    "--ca names, or it asks for a certificate (TALWEG_CERT_FILE)."
)
_WITHOUT_TLS = (
    "If it serves with TLS, name the CA of its certificate by TALWEG_CA_FILE or "
    "`talweg login --ca`."
)
# So gRPC begins what it says of an answer that is HTTP, but not gRPC.
_BY_HTTP = "Received http2 header with status:"


class TalwegError(Exception):
    """The base class of all errors of this package."""

    def __init__(
        self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        """Keep the reason from the server, such as ``JOB_NOT_FOUND``, with the message."""
        super().__init__(message)
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})

    def __reduce__(self) -> tuple[Any, ...]:
        """Support pickling, so that process pools can return the error."""
        return _rebuilt, (type(self), self.args, self.__dict__)


class InvalidRequest(TalwegError, ValueError):
    """An argument is invalid."""

    def __init__(
        self, message: str = "", *, violations: Iterable[Violation] = (), **details: Any
    ) -> None:
        """Make the violations the message, one per line, if there are any."""
        self.violations: tuple[Violation, ...] = tuple(violations)
        listed = "\n".join(str(violation) for violation in self.violations)
        super().__init__(listed or message, **details)


class InvalidSpec(InvalidRequest):
    """A spec is invalid; `violations` has all problems."""

    def __init__(self, message: str = "", *, source: str = "", **details: Any) -> None:
        """Keep the source of the spec, such as a file; empty if there is none."""
        super().__init__(message, **details)
        self.source = source


class NotFound(TalwegError):
    """The job or sweep does not exist."""


class AlreadyExists(TalwegError):
    """The request id was used before for another request."""


class FailedPrecondition(TalwegError):
    """The state of the job or sweep does not allow the request."""


class PermissionDenied(TalwegError):
    """The server does not know the token, or the token does not allow the request."""


class ResourceExhausted(TalwegError):
    """A quota of the project, or a limit of the server, allows no more; `reason` says which."""

    retry_after: timedelta | None = None
    """When to send the request again; None where the server cannot tell."""


class Unavailable(TalwegError):
    """No server could be found or reached, or it did not answer in time."""


class ServerError(TalwegError):
    """Any other error of the server."""


class BatchError(TalwegError):
    """Some jobs of a batch were refused; the others were accepted."""

    def __init__(self, results: Sequence["Job | AsyncJob | TalwegError"]) -> None:
        """Sort a batch's results."""
        self.results: tuple[Job | AsyncJob | TalwegError, ...] = tuple(results)
        """One result per spec, in order."""
        self.failures: tuple[tuple[int, TalwegError], ...] = tuple(
            (index, result)
            for index, result in enumerate(results)
            if isinstance(result, TalwegError)
        )
        """The index of each refused spec, and its error."""
        listed = "\n".join(f"specs[{index}]: {error}" for index, error in self.failures[:10])
        more = len(self.failures) - 10
        super().__init__(
            f"{len(self.failures)} of {len(results)} jobs were refused:\n{listed}"
            + (f"\nand {more} more" if more > 0 else "")
        )


class JobFailed(TalwegError):
    """The result of a job that did not end as SUCCEEDED was requested."""

    def __init__(self, message: str, *, result: "JobResult", outcome: "Outcome") -> None:
        """Keep the partial result."""
        super().__init__(message)
        self.result = result
        self.outcome = outcome


class WaitTimeout(TalwegError, TimeoutError):
    """A job or sweep did not end in time. It continues."""


class MissingExtra(TalwegError, ImportError):
    """What was asked for needs packages that are not installed here."""


# By the reason of an error, otherwise by the name of its status code.
_KINDS: dict[str, type[TalwegError]] = {
    "INVALID_SPEC": InvalidSpec,
    "INVALID_ARGUMENT": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": FailedPrecondition,
    "ABORTED": FailedPrecondition,
    "UNAUTHENTICATED": PermissionDenied,
    "PERMISSION_DENIED": PermissionDenied,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": Unavailable,
}


def is_passing(error: TalwegError) -> bool:
    """Return whether the same request may succeed later by itself.

    Nobody answered, or the server has not begun with it since there were too many.
    """
    return isinstance(error, Unavailable) or error.reason in NOT_BEGUN


def from_status(status: status_pb2.Status, *, address: str = "") -> TalwegError:
    """Convert a status to an exception; `address` is named if no server answered."""
    info = _detail(status.details, error_details_pb2.ErrorInfo())
    request = _detail(status.details, error_details_pb2.BadRequest())
    code = code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else "UNKNOWN"
    kind = _KINDS.get(info.reason) or _KINDS.get(code, ServerError)
    details: dict[str, Any] = {"reason": info.reason, "metadata": dict(info.metadata)}
    if issubclass(kind, InvalidRequest):
        violations = [
            Violation.from_description(violation.field, violation.description)
            for violation in request.field_violations
        ]
        return kind(status.message, violations=violations, **details)
    if kind is Unavailable:
        return Unavailable(_unavailable(code, status.message, info.reason, address), **details)
    message = status.message or f"the server sent {code} without a message"
    if kind is ServerError:
        message = f"the server answered {code}: {message}"
    error = kind(message, **details)
    if isinstance(error, ResourceExhausted):
        retry = _detail(status.details, error_details_pb2.RetryInfo())
        error.retry_after = (
            retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None
        )
    return error


def from_rpc(error: "grpc.RpcError", *, address: str, proxy: str = "") -> TalwegError:
    """Convert a failed call to an exception.

    Args:
        error: The failed call.
        address: The server's, named if no server answered.
        proxy: The environment variable that names the proxy on the way; empty for none.
    """
    import grpc

    assert isinstance(error, (grpc.Call, grpc.aio.AioRpcError)), "errors of gRPC have their call"
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value), address=address)
    details = error.details() or ""
    if details.startswith(_BY_HTTP) or "HTTP proxy returned response code" in details:
        return Unavailable(_by_another(details, address, proxy))
    if proxy and error.code() is grpc.StatusCode.UNAVAILABLE:
        details += f" (on the way through the proxy that {proxy} names)"
        return Unavailable(_unavailable("UNAVAILABLE", details, "", address))
    code, _ = error.code().value
    return from_status(status_pb2.Status(code=code, message=details), address=address)


def code_of(error: "grpc.RpcError") -> "grpc.StatusCode | None":
    """Return the status code of a failed call; None of what is no call."""
    import grpc

    return error.code() if isinstance(error, (grpc.Call, grpc.aio.AioRpcError)) else None


def from_spec_error(error: SpecError, *, source: str = "") -> InvalidSpec:
    """Return the exception for a spec that cannot be read."""
    return InvalidSpec(violations=error.violations, source=source, reason="INVALID_SPEC")


def to_message(fields: Mapping[str, Any], kind: type[M], *, path: str) -> M:
    """Convert a part of a request from its JSON form.

    Args:
        fields: Its fields by name.
        kind: What it is.
        path: Its path in the request, for messages.

    Raises:
        InvalidRequest: Names are unknown, or values have a wrong type or are out of its range.
    """
    from talweg.spec import from_dict

    try:
        return from_dict(dict(fields), kind, path=path)
    except SpecError as error:
        raise InvalidRequest(violations=error.violations, reason="INVALID_REQUEST") from error


def _rebuilt(
    kind: type[TalwegError], arguments: tuple[Any, ...], state: dict[str, Any]
) -> TalwegError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


def _unavailable(code: str, message: str, reason: str, address: str) -> str:
    if reason:
        return f"the server at {address} cannot answer now: {message}"
    if code == "DEADLINE_EXCEEDED":
        return f"the server at {address} did not answer in time: {message}"
    if _NOT_KNOWN in message:
        return f"no server answers at {address} that is known for it: {message} {_OTHER_NAME}"
    if _OTHER_TLS in message.lower():
        return f"no server answers at {address} as TLS is spoken to it: {message}. {_WITH_TLS}"
    hint = f" {_WITHOUT_TLS}" if any(part in message for part in _CUT_OFF) else ""
    return f"no server answers at {address}: {message}.{hint} {HOW_TO_START}"


def _by_another(details: str, address: str, proxy: str) -> str:
    """Say that a program answered that is no gRPC server, such as a proxy for the web."""
    status = details.rpartition(":")[2].strip() if details.startswith(_BY_HTTP) else details
    if not proxy:
        return (
            f"what answers at {address} is not a Talweg server, but a web server or a proxy: it "
            f"answered HTTP {status}. Check the address"
        )
    return (
        f"a proxy answered in place of the server at {address}: HTTP {status}. {proxy} names "
        "it: add the server's host to no_proxy, or unset the variable"
    )


def _detail(details: Iterable[AnyMessage], message: M) -> M:
    for packed in details:
        if packed.Unpack(message):
            break
    return message
