"""Find folders of the blob store whose jobs the record does not know."""

import logging
from collections.abc import Iterator

from talweg.blobs import Blobs
from talweg.spec import is_job_id, job_name
from talweg.v1.workers_pb2 import ReportFoldersRequest
from talweg.worker.tracking.record import Record

_BATCH = 1000
_FOLDER = "jobs"

log = logging.getLogger(__name__)


class UnknownFolders:
    """Tells the server which folders belong to no job, for the server does not see the store.

    Nothing is removed here: the server has that done on request, as it has for deleted jobs.
    """

    def __init__(self, record: Record, blobs: str) -> None:
        """Touch nothing yet.

        Args:
            record: The server.
            blobs: The blob store's folder or URL.
        """
        self._record, self._blobs = record, blobs

    def report(self) -> int:
        """List the store, and return how many folders belong to no job.

        Raises:
            ServerAwayError: The server does not answer.
        """
        num_unknown = 0
        try:
            blobs = Blobs(self._blobs)
            names = [job_name(id_) for id_ in blobs.names(_FOLDER) if is_job_id(id_)]
            for start in range(0, len(names), _BATCH):
                num_unknown += self._report(blobs, names[start : start + _BATCH])
        except (OSError, ImportError, ValueError) as exc:
            log.info("the blob store is not looked through for now: %s", exc)
        return num_unknown

    def _report(self, blobs: Blobs, names: list[str]) -> int:
        asked = [ReportFoldersRequest.Folder(job=name) for name in names]
        unknown = list(_timed(blobs, self._record.unknown_folders(asked)))
        if unknown:
            self._record.unknown_folders(unknown)
        return len(unknown)


def _timed(blobs: Blobs, names: list[str]) -> Iterator[ReportFoldersRequest.Folder]:
    for name in names:
        written = blobs.last_write(name)
        if written is not None:
            folder = ReportFoldersRequest.Folder(job=name, bytes=written[1])
            folder.write_time.FromDatetime(written[0])
            yield folder
