"""What is removed once a job's results are in MLflow: its folder in the spool, and leftovers."""

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from talweg.blobs import job_blobs, remove_job
from talweg.spec import job_name
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.spec.states import has_ended
from talweg.worker.storage.leftovers import remove_leftovers
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.spool import now_ms

TRASH_PREFIX = ".done-"
"""Begins the names of folders on their way out; `spool.jobs` passes over them."""

log = logging.getLogger(__name__)


def remove_leftovers_of(
    job_id: str, attempts: Iterable[SpooledAttempt], *, record: Record, blobs: str
) -> None:
    """Remove what attempts left in the blob store that did not end in order.

    The job's next attempt would, but none comes. A store that is away keeps it.

    Args:
        job_id: Without `jobs/`.
        attempts: All that this spool has of the job.
        record: The server.
        blobs: The blob store's folder or URL.

    Raises:
        ServerAwayError: The server did not answer; try again later.
    """
    if all(attempt.ended_in_order for attempt in attempts):
        return
    job = record.job(job_id)
    if job is None or not has_ended(job.state):
        return
    named = {checkpoint.name for checkpoint in job.checkpoints}
    try:
        store = job_blobs(blobs, job.project or DEFAULT_PROJECT)
        remove_leftovers(store, job.name, named=named)
    except (OSError, ImportError, ValueError) as exc:
        log.warning("%s: its leftovers in the blob store stay: %s", job_id, exc)


def remove_all_of(job_id: str, attempts: Iterable[SpooledAttempt], *, blobs: str) -> None:
    """Remove what was written to the blob store of a job that was deleted meanwhile.

    Its files may have been removed by then: nobody would ask for that again.

    Args:
        job_id: Without `jobs/`.
        attempts: All that this spool has of the job.
        blobs: The blob store's folder or URL.
    """
    projects = {(each.begin or {}).get("project") or DEFAULT_PROJECT for each in attempts}
    try:
        for project in projects:
            remove_job(blobs, project, job_name(job_id))
    except (OSError, ImportError, ValueError) as exc:
        log.warning("%s was deleted, but its files stay: %s", job_id, exc)


def remove_folder(folder: Path) -> None:
    """Remove a job's folder from the spool.

    It is renamed first: a folder that is half removed must not be taken for a job.

    Args:
        folder: Named by the job's id.
    """
    trash = folder.with_name(f"{TRASH_PREFIX}{folder.name}-{os.getpid()}-{now_ms()}")
    os.replace(folder, trash)
    shutil.rmtree(trash, ignore_errors=True)
