"""What can go wrong, in the words of the domain. No gRPC here: `statuses` maps these to statuses.

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

from talweg.server.errors._base import (
    FieldProblem,
    InternalError,
    InvalidRequest,
    ServerError,
    Unavailable,
)
from talweg.server.errors._callers import (
    CallTooLong,
    MessageTooLarge,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    SilentCaller,
    SlowReader,
    TokenNotFound,
    TooManyCalls,
    TooManyWatches,
    Unauthenticated,
)
from talweg.server.errors._data import (
    ArtifactNotFound,
    ArtifactNotReady,
    DatasetInUse,
    DatasetNotFound,
    DataTooLarge,
    DiskFull,
    NoWorker,
    OffsetBehindEnd,
    PredictionFailed,
    PredictionTimeout,
    PredictionTooLarge,
    StalePrediction,
    UnusableModel,
    UploadOutOfPlace,
    UploadTooLarge,
    WorkersBusy,
)
from talweg.server.errors._jobs import (
    JobEnded,
    JobInUse,
    JobNotEnded,
    JobNotFound,
    SessionNotFound,
    SessionState,
    StaleLease,
    SweepEnded,
    SweepNotFound,
)
from talweg.server.errors._outages import (
    BadSetting,
    BlobsUnavailable,
    BrokerUnavailable,
    CannotStart,
    DatabaseUnavailable,
    IssuerUnavailable,
    PortTaken,
    ProcessLimit,
    ShuttingDown,
)
from talweg.server.errors._requests import (
    BadFilter,
    BadGrouping,
    BadMetric,
    BadOrder,
    BadPageToken,
    BatchSize,
    InvalidSpec,
    InvalidUpload,
    RequestIdReused,
    SpecTooLarge,
    UnfitTable,
    UnreadableData,
)

__all__ = [
    "ArtifactNotFound",
    "ArtifactNotReady",
    "BadFilter",
    "BadGrouping",
    "BadMetric",
    "BadOrder",
    "BadPageToken",
    "BadSetting",
    "BatchSize",
    "BlobsUnavailable",
    "BrokerUnavailable",
    "CallTooLong",
    "CannotStart",
    "DataTooLarge",
    "DatabaseUnavailable",
    "DatasetInUse",
    "DatasetNotFound",
    "DiskFull",
    "FieldProblem",
    "InternalError",
    "InvalidRequest",
    "InvalidSpec",
    "InvalidUpload",
    "IssuerUnavailable",
    "JobEnded",
    "JobInUse",
    "JobNotEnded",
    "JobNotFound",
    "MessageTooLarge",
    "NoWorker",
    "OffsetBehindEnd",
    "PermissionDenied",
    "PortTaken",
    "PredictionFailed",
    "PredictionTimeout",
    "PredictionTooLarge",
    "ProcessLimit",
    "QuotaExceeded",
    "RateLimited",
    "RequestIdReused",
    "ServerError",
    "SessionNotFound",
    "SessionState",
    "ShuttingDown",
    "SilentCaller",
    "SlowReader",
    "SpecTooLarge",
    "StaleLease",
    "StalePrediction",
    "SweepEnded",
    "SweepNotFound",
    "TokenNotFound",
    "TooManyCalls",
    "TooManyWatches",
    "Unauthenticated",
    "Unavailable",
    "UnfitTable",
    "UnreadableData",
    "UnusableModel",
    "UploadOutOfPlace",
    "UploadTooLarge",
    "WorkersBusy",
]
