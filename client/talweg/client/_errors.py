"""What can go wrong between a client and its jobs.

TalwegError
├── InvalidRequest          an argument that the server refuses; a ValueError too
│   └── InvalidSpec         a spec that cannot be accepted, with everything wrong with it
├── NotFound                no such job
├── AlreadyExists           the request id was used for another body
├── FailedPrecondition      the job's state does not allow it
├── Unavailable             no server, or none that answers in time
├── ServerError             anything else that a server answered
├── BatchError              some jobs of a batch were refused
├── JobFailed               a result was asked of a job that did not succeed
└── WaitTimeout             a job has not ended in time; a TimeoutError too
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from talweg.spec import SpecError, Violation

if TYPE_CHECKING:
    import grpc

    from talweg.client._jobs import Job
    from talweg.client._values import JobResult
    from talweg.v1.jobs_pb2 import Outcome

M = TypeVar("M", bound=Message)

HOW_TO_START = (
    "Start a stack on this machine with `talweg up`, or name a server by TALWEG_ADDRESS=HOST:PORT"
    " or `talweg --address HOST:PORT`."
)
_DETAILS_TRAILER = "grpc-status-details-bin"


class TalwegError(Exception):
    """The base of all errors that this package raises of its own."""

    def __init__(
        self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        """Keep the server's reason, such as ``JOB_NOT_FOUND``, beside the message."""
        super().__init__(message)
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error pass between processes, as a pool of them does with errors."""
        return _rebuilt, (type(self), self.args, self.__dict__)


class InvalidRequest(TalwegError, ValueError):
    """The server refuses an argument."""

    def __init__(
        self, message: str = "", *, violations: Iterable[Violation] = (), **details: Any
    ) -> None:
        """List the violations, one a line, where there are any."""
        self.violations: tuple[Violation, ...] = tuple(violations)
        listed = "\n".join(str(violation) for violation in self.violations)
        super().__init__(listed or message, **details)


class InvalidSpec(InvalidRequest):
    """A spec that cannot be accepted; `violations` holds everything that is wrong with it."""

    def __init__(self, message: str = "", *, source: str = "", **details: Any) -> None:
        """Keep where the spec was read from, such as a file; empty where it was not read."""
        super().__init__(message, **details)
        self.source = source


class NotFound(TalwegError):
    """There is no such job."""


class AlreadyExists(TalwegError):
    """The request id was used before, for another body."""


class FailedPrecondition(TalwegError):
    """The job's state does not allow what was asked."""


class Unavailable(TalwegError):
    """No server could be found or reached, or it did not answer in time."""


class ServerError(TalwegError):
    """Anything else that a server answered."""


class BatchError(TalwegError):
    """Some jobs of a batch were refused; the others were accepted."""

    def __init__(self, results: Sequence["Job | TalwegError"]) -> None:
        """Sort a batch's results."""
        self.results: tuple[Job | TalwegError, ...] = tuple(results)
        """One a spec, in the order of the specs."""
        self.failures: tuple[tuple[int, TalwegError], ...] = tuple(
            (index, result)
            for index, result in enumerate(results)
            if isinstance(result, TalwegError)
        )
        """The index of each refused spec, and why."""
        listed = "\n".join(f"specs[{index}]: {error}" for index, error in self.failures[:10])
        more = len(self.failures) - 10
        super().__init__(
            f"{len(self.failures)} of {len(results)} jobs were refused:\n{listed}"
            + (f"\nand {more} more" if more > 0 else "")
        )


class JobFailed(TalwegError):
    """A result was asked of a job that ended otherwise than SUCCEEDED."""

    def __init__(self, message: str, *, result: "JobResult", outcome: "Outcome") -> None:
        """Keep what there is of a result."""
        super().__init__(message)
        self.result = result
        self.outcome = outcome


class WaitTimeout(TalwegError, TimeoutError):
    """A job has not ended in time. It goes on."""


# The one table: an error's reason, else the name of its code.
_KINDS: dict[str, type[TalwegError]] = {
    "INVALID_SPEC": InvalidSpec,
    "INVALID_ARGUMENT": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": FailedPrecondition,
    "ABORTED": FailedPrecondition,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": Unavailable,
}


def from_status(status: status_pb2.Status, *, address: str = "") -> TalwegError:
    """Give the exception that a status stands for; `address` is named where nobody answered."""
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
    message = status.message or f"the server gave no message with {code}"
    if kind is ServerError:
        message = f"the server answered {code}: {message}"
    return kind(message, **details)


def from_rpc(error: "grpc.RpcError", *, address: str) -> TalwegError:
    """Give the exception that a failed call stands for."""
    import grpc

    assert isinstance(error, grpc.Call), "gRPC's own errors carry their call"
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_TRAILER and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value), address=address)
    code, _ = error.code().value
    return from_status(
        status_pb2.Status(code=code, message=error.details() or ""), address=address
    )


def from_spec_error(error: SpecError, *, source: str = "") -> InvalidSpec:
    """Give the exception of a spec that cannot even be read."""
    return InvalidSpec(violations=error.violations, source=source, reason="INVALID_SPEC")


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
    return f"no server answers at {address}: {message}. {HOW_TO_START}"


def _detail(details: Iterable[AnyMessage], message: M) -> M:
    for packed in details:
        if packed.Unpack(message):
            break
    return message
