"""Requests that are at fault themselves."""

from talweg.server.errors._base import FieldProblem, InvalidRequest, ServerError


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
