"""The one table from domain errors to google.rpc.Status."""

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from talweg.server import errors
from talweg.spec import refusals

DOMAIN = "talweg"

# A client refuses trailing metadata beyond 8 KiB by default, and the status travels there.
_IN_TRAILERS_BYTES = 5_000
_MAX_MESSAGE_CHARS = 600
_MAX_DESCRIPTION_CHARS = 600


@dataclass(frozen=True)
class Mapped:
    """What an error is on the wire."""

    code: grpc.StatusCode
    """The status code."""

    reason: str
    """ErrorInfo.reason."""


TABLE: Mapping[type[errors.ServerError], Mapped] = {
    errors.InvalidRequest: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    errors.InvalidSpec: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SPEC"),
    errors.SpecTooLarge: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "SPEC_TOO_LARGE"),
    errors.BatchSize: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "BATCH_SIZE"),
    errors.BadFilter: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "BAD_FILTER"),
    errors.BadOrder: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "BAD_ORDER"),
    errors.BadPageToken: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "BAD_PAGE_TOKEN"),
    errors.BadGrouping: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "BAD_GROUPING"),
    errors.BadMetric: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "BAD_METRIC"),
    errors.InvalidUpload: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_UPLOAD"),
    errors.UnreadableData: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "UNREADABLE_DATA"),
    errors.DatasetNotFound: Mapped(grpc.StatusCode.NOT_FOUND, "DATASET_NOT_FOUND"),
    errors.DatasetInUse: Mapped(grpc.StatusCode.FAILED_PRECONDITION, "DATASET_IN_USE"),
    errors.UploadOutOfPlace: Mapped(grpc.StatusCode.ABORTED, "UPLOAD_OUT_OF_PLACE"),
    errors.UploadTooLarge: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, "UPLOAD_TOO_LARGE"),
    errors.DataTooLarge: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, "DATA_TOO_LARGE"),
    errors.DiskFull: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL"),
    errors.JobNotFound: Mapped(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"),
    errors.SweepNotFound: Mapped(grpc.StatusCode.NOT_FOUND, "SWEEP_NOT_FOUND"),
    errors.SweepEnded: Mapped(grpc.StatusCode.FAILED_PRECONDITION, "SWEEP_ENDED"),
    errors.SessionNotFound: Mapped(grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
    errors.SessionState: Mapped(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_STATE"),
    errors.ArtifactNotFound: Mapped(grpc.StatusCode.NOT_FOUND, "ARTIFACT_NOT_FOUND"),
    errors.ArtifactNotReady: Mapped(grpc.StatusCode.FAILED_PRECONDITION, "ARTIFACT_NOT_READY"),
    errors.OffsetBehindEnd: Mapped(grpc.StatusCode.OUT_OF_RANGE, "OFFSET_BEHIND_END"),
    errors.UnfitTable: Mapped(grpc.StatusCode.INVALID_ARGUMENT, "UNFIT_TABLE"),
    errors.UnusableModel: Mapped(grpc.StatusCode.FAILED_PRECONDITION, "UNUSABLE_MODEL"),
    errors.NoWorker: Mapped(grpc.StatusCode.FAILED_PRECONDITION, "NO_WORKER"),
    errors.WorkersBusy: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, "WORKERS_BUSY"),
    errors.PredictionTooLarge: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, "PREDICTION_TOO_LARGE"),
    errors.PredictionTimeout: Mapped(grpc.StatusCode.DEADLINE_EXCEEDED, "PREDICTION_TIMEOUT"),
    errors.PredictionFailed: Mapped(grpc.StatusCode.INTERNAL, "PREDICTION_FAILED"),
    errors.StalePrediction: Mapped(grpc.StatusCode.ABORTED, "STALE_PREDICTION"),
    errors.RequestIdReused: Mapped(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    errors.JobEnded: Mapped(grpc.StatusCode.FAILED_PRECONDITION, "JOB_ENDED"),
    errors.JobNotEnded: Mapped(grpc.StatusCode.FAILED_PRECONDITION, "JOB_NOT_ENDED"),
    errors.JobInUse: Mapped(grpc.StatusCode.FAILED_PRECONDITION, "JOB_IN_USE"),
    errors.StaleLease: Mapped(grpc.StatusCode.ABORTED, "STALE_LEASE"),
    errors.Unauthenticated: Mapped(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    errors.PermissionDenied: Mapped(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    errors.TokenNotFound: Mapped(grpc.StatusCode.NOT_FOUND, "TOKEN_NOT_FOUND"),
    errors.QuotaExceeded: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"),
    errors.MessageTooLarge: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"),
    errors.TooManyWatches: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES"),
    errors.RateLimited: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, refusals.RATE_LIMITED),
    errors.TooManyCalls: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, refusals.TOO_MANY_CALLS),
    errors.CallTooLong: Mapped(grpc.StatusCode.DEADLINE_EXCEEDED, "CALL_TOO_LONG"),
    errors.InternalError: Mapped(grpc.StatusCode.INTERNAL, "INTERNAL"),
    errors.DatabaseUnavailable: Mapped(grpc.StatusCode.UNAVAILABLE, refusals.RECORD_AWAY),
    errors.BrokerUnavailable: Mapped(grpc.StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE"),
    errors.BlobsUnavailable: Mapped(grpc.StatusCode.UNAVAILABLE, "BLOBS_UNAVAILABLE"),
    errors.IssuerUnavailable: Mapped(grpc.StatusCode.UNAVAILABLE, "ISSUER_UNAVAILABLE"),
    errors.ProcessLimit: Mapped(grpc.StatusCode.UNAVAILABLE, "PROCESS_LIMIT"),
    errors.ShuttingDown: Mapped(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"),
    errors.SlowReader: Mapped(grpc.StatusCode.UNAVAILABLE, "SLOW_READER"),
    errors.SilentCaller: Mapped(grpc.StatusCode.UNAVAILABLE, "SILENT_CALLER"),
}

INTERNAL = status_pb2.Status(
    code=grpc.StatusCode.INTERNAL.value[0],
    message=str(errors.InternalError()),
)
"""All that a caller learns of an error that nobody foresaw."""


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """Return gRPC's name of a status's code."""
    return next(code for code in grpc.StatusCode if code.value[0] == status.code)


def to_status(error: errors.ServerError, *, room: int = _IN_TRAILERS_BYTES) -> status_pb2.Status:
    """Return an error's form on the wire.

    Args:
        error: An error of the domain.
        room: How many bytes it should take at most; where not given, what a client takes as
            trailing metadata. Violations are left out where they do not fit, and the last one
            says how many.

    Returns:
        The status, with ErrorInfo and, where fields are at fault, BadRequest; with RetryInfo
        where it is known when the call may be sent again. INTERNAL where neither the error's type
        nor a base of it is in the table.
    """
    # A kind without a row of its own is told as the nearest that has one.
    mapped = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), None)
    if mapped is None:
        return INTERNAL
    status = status_pb2.Status(
        code=mapped.code.value[0], message=_cut(str(error), _MAX_MESSAGE_CHARS)
    )
    info = error_details_pb2.ErrorInfo(
        reason=mapped.reason, domain=DOMAIN, metadata=error.metadata
    )
    status.details.append(_packed(info))
    if isinstance(error, errors.RateLimited):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        status.details.append(_packed(retry))
    if error.fields:
        status.details.append(_packed(_bad_request(error.fields, room - status.ByteSize())))
    return status


def _bad_request(
    problems: tuple[errors.FieldProblem, ...], room: int
) -> error_details_pb2.BadRequest:
    details = error_details_pb2.BadRequest()
    for index, problem in enumerate(problems):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(problem.field, 200),
            description=_cut(problem.description, _MAX_DESCRIPTION_CHARS),
            reason=problem.reason,
        )
        if details.ByteSize() + violation.ByteSize() > room:
            more = len(problems) - index
            details.field_violations.add(
                field="", description=f"and {more} more", reason="LEFT_OUT"
            )
            break
        details.field_violations.append(violation)
    return details


def _packed(
    message: (
        error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo
    ),
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
