"""What can go wrong, in the words of the domain. No gRPC here: `statuses` maps these to statuses.
Those of callers who ask for too much are in `excess`.

ServerError
├── InvalidRequest          the request is at fault; says which field and why
│   ├── InvalidSpec         the job's spec breaks rules; carries every violation
│   ├── SpecTooLarge
│   ├── BatchSize
│   ├── BadFilter
│   ├── BadOrder
│   ├── BadPageToken
│   ├── BadGrouping
│   ├── BadMetric
│   ├── InvalidUpload       the messages of an upload are not what was agreed
│   ├── UnreadableData      a file's content cannot be stored; carries the places
│   └── UnfitTable          a table to predict for cannot be read, or does not fit the model
├── JobNotFound
├── SweepNotFound
├── DatasetNotFound
├── DatasetInUse            jobs read it
├── UploadOutOfPlace        other bytes are due; says which
├── UploadTooLarge
├── DataTooLarge            reading it takes more memory or time than it may
├── DiskFull
├── ArtifactNotFound        the job has left no such file
├── ArtifactNotReady        the file is not there yet, or was not asked for
├── OffsetBehindEnd
├── UnusableModel           no worker can load the job's model
├── NoWorker                no worker answers that could predict
├── WorkersBusy             all of them are predicting for others
├── PredictionTooLarge      a prediction takes too much memory, or its result is too large
├── PredictionTimeout
├── PredictionFailed        on the worker, whose log says why
├── StalePrediction         nobody waits for it any more, or another worker has it
├── RequestIdReused
├── JobEnded                the job is over, and the call needs one that is not
├── JobNotEnded             the reverse
├── SweepEnded              the sweep is over, or its final jobs have begun
├── SessionNotFound
├── SessionState            the session is open, closed or busy, and the call needs it otherwise
├── JobInUse                another job refers to it
├── StaleLease              another attempt, or none, holds the job
├── Unauthenticated         no token, or none that holds
├── PermissionDenied        the token's role or project does not allow the call
├── TokenNotFound
├── QuotaExceeded           the project may have no more; says which quota and how much
├── MessageTooLarge
├── TooManyWatches          of one caller
├── RateLimited             the token makes too many calls a second; says when to try again
├── TooManyCalls            under way, from one address
├── CallTooLong             it was cancelled
├── InternalError           nobody foresaw it; only the log tells what it was
├── Unavailable             later it may work
│   ├── DatabaseUnavailable
│   ├── BrokerUnavailable
│   ├── BlobsUnavailable
│   ├── IssuerUnavailable
│   ├── SlowReader          a stream's responses were not taken
│   ├── SilentCaller        a stream's messages did not come
│   ├── ProcessLimit        the system starts no further process or thread
│   └── ShuttingDown
└── CannotStart             never reaches a client
    ├── BadSetting
    └── PortTaken
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field of a request."""

    field: str
    """Its path, such as "spec.loss.huber.delta"."""

    description: str
    """What was found, and what is allowed."""

    reason: str = ""
    """A word for programs, in capitals."""


class ServerError(Exception):
    """The base of all errors that the server raises on purpose."""

    def __init__(
        self,
        message: str,
        *,
        fields: Sequence[FieldProblem] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Make the error.

        Args:
            message: For people: what was found and what is allowed.
            fields: Which fields of the request are at fault.
            metadata: Facts for programs.
        """
        super().__init__(message)
        self.fields = tuple(fields)
        self.metadata = dict(metadata or {})


class InvalidRequest(ServerError):
    """The request asks for something that does not exist or cannot be."""

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidRequest":
        """Make the error for one field.

        Args:
            field: Its path in the request.
            description: What was found, and what is allowed.
        """
        return cls(f"{field}: {description}", fields=[FieldProblem(field, description)])


class InvalidSpec(InvalidRequest):
    """The job's spec breaks rules."""


class SpecTooLarge(InvalidRequest):
    """The job's spec takes more bytes than the record keeps."""


class BatchSize(InvalidRequest):
    """A batch holds no request, or too many."""


class BadFilter(InvalidRequest):
    """A filter cannot be read."""


class BadOrder(InvalidRequest):
    """An order_by cannot be read."""


class BadPageToken(InvalidRequest):
    """A page token was not given by this service, or for other arguments."""


class BadGrouping(InvalidRequest):
    """A path to group by is not in the spec."""


class BadMetric(InvalidRequest):
    """A metric that the jobs cannot have, or no common one."""


class InvalidUpload(InvalidRequest):
    """An upload begins without a header, or a chunk is not as agreed."""


class UnreadableData(InvalidRequest):
    """A file that cannot be stored as it is; carries each problem with its place in the file."""


class UnfitTable(InvalidRequest):
    """A table to predict for cannot be read, or does not fit the model."""


class JobNotFound(ServerError):
    """There is no such job."""

    def __init__(self, name: str, *, note: str = "") -> None:
        """Make the error.

        Args:
            name: What was asked for.
            note: What is known of it, such as that it was deleted.
        """
        text = f"there is no job {name!r}"
        super().__init__(f"{text}: {note}" if note else text, metadata={"job": name})


class SweepNotFound(ServerError):
    """There is no such sweep."""

    def __init__(self, name: str) -> None:
        """Make the error, by the name that was asked for."""
        super().__init__(f"there is no sweep {name!r}", metadata={"sweep": name})


class ArtifactNotFound(ServerError):
    """The job has left no such file."""


class ArtifactNotReady(ServerError):
    """The file is not there yet, or was not asked for."""


class OffsetBehindEnd(ServerError):
    """A file is to be sent from behind its end on."""


class UnusableModel(ServerError):
    """No worker can load the job's model."""


class NoWorker(ServerError):
    """No worker answers that could predict."""


class WorkersBusy(ServerError):
    """All workers are predicting for others."""


class PredictionTooLarge(ServerError):
    """A prediction takes more memory than it may, or does not fit into a response."""


class PredictionTimeout(ServerError):
    """A prediction takes longer than it may."""


class PredictionFailed(ServerError):
    """A prediction failed on a worker, whose log says why."""


class StalePrediction(ServerError):
    """Nobody waits for a prediction any more, or another worker has it."""


class RequestIdReused(ServerError):
    """The request_id was used with another body."""

    def __init__(self, request_id: str, name: str) -> None:
        """Make the error.

        Args:
            request_id: The id.
            name: The name of the job or sweep that it stands for.
        """
        kind = name.partition("s/")[0]
        super().__init__(
            f"request_id {request_id!r} was already used with another body, for {name}: use a new "
            f"request_id for a new {kind}",
            fields=[FieldProblem("request_id", f"stands for {name} already", "REUSED")],
            metadata={kind: name, "request_id": request_id},
        )


class JobEnded(ServerError):
    """The job is over."""


class SweepEnded(ServerError):
    """The sweep is over, or so far that the call comes too late."""


class SessionNotFound(ServerError):
    """Nothing has named the session."""

    def __init__(self, name: str) -> None:
        """Name it: sessions/{id}."""
        super().__init__(
            f"there is no {name}: it begins with the first job or sweep with `session`",
            metadata={"session": name},
        )


class SessionState(ServerError):
    """The session is open, closed or busy, and the call needs it otherwise."""


class JobNotEnded(ServerError):
    """The job is not over."""


class JobInUse(ServerError):
    """Another job refers to the job that is to be deleted."""

    def __init__(self, name: str, users: Sequence[str], number: int) -> None:
        """Name the users.

        Args:
            name: The job.
            users: The names of some jobs that refer to it.
            number: How many there are.
        """
        some = ", ".join(users) + (", …" if number > len(users) else "")
        who = "another job refers" if number == 1 else f"{number} jobs refer"
        super().__init__(
            f"{name} cannot be deleted: {who} to it ({some}). Delete "
            f"{'it' if number == 1 else 'them'} first",
            metadata={"job": name},
        )


class DatasetNotFound(ServerError):
    """There is no such data set, or no such version of it."""


class DatasetInUse(ServerError):
    """Jobs read the data set that is to be deleted."""


class UploadOutOfPlace(ServerError):
    """Bytes came that are not the next ones, or too few came."""

    def __init__(self, message: str, *, offset: int) -> None:
        """Make the error.

        Args:
            message: For people.
            offset: Where the upload can go on.
        """
        super().__init__(message, metadata={"offset": str(offset)})


class UploadTooLarge(ServerError):
    """A file is larger than this server takes."""


class DataTooLarge(ServerError):
    """Reading a file takes more memory or time than it may."""


class DiskFull(ServerError):
    """There is no room for a file."""


class StaleLease(ServerError):
    """The caller does not hold the job any more."""


class Unauthenticated(ServerError):
    """The call carries no token, or none that holds."""


class PermissionDenied(ServerError):
    """The token's role or project does not allow the call."""


class TokenNotFound(ServerError):
    """There is no token of this name among those that the caller may see."""


class QuotaExceeded(ServerError):
    """The project may have no more of something."""

    def __init__(self, quota: str, message: str) -> None:
        """Make the error.

        Args:
            quota: The field of `Quotas`.
            message: Which quota, how much it is, and how much there is.
        """
        super().__init__(message, metadata={"quota": quota})


class MessageTooLarge(ServerError):
    """A request takes more bytes than its method allows."""


class TooManyWatches(ServerError):
    """The caller watches as many jobs at once as one caller may."""


class InternalError(ServerError):
    """Something that nobody foresaw. What it was stands in the log, since it may hold secrets."""

    def __init__(self) -> None:
        """Make the error, of which a caller learns no more than that it is one."""
        super().__init__("internal server error; see the server's log")


class Unavailable(ServerError):
    """Something that the call needs does not answer now."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class BrokerUnavailable(Unavailable):
    """The broker does not answer. No call needs it: jobs are taken, and wait."""


class BlobsUnavailable(Unavailable):
    """The blob store does not answer, or cannot be written."""


class IssuerUnavailable(Unavailable):
    """The issuer does not answer that would tell whether a token holds."""


class ProcessLimit(Unavailable):
    """The system starts no further process or thread for this server."""


class ShuttingDown(Unavailable):
    """This server is about to end."""


class CannotStart(ServerError):
    """The server cannot start."""


class BadSetting(CannotStart):
    """A setting has a value that cannot be used."""


class PortTaken(CannotStart):
    """The address to listen on is in use, or is not this machine's."""
