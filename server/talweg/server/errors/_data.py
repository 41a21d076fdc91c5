"""Data sets, uploads, files of jobs, and predictions."""

from talweg.server.errors._base import ServerError


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


class ArtifactNotFound(ServerError):
    """The job has left no such file, or that is lost or damaged."""


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
