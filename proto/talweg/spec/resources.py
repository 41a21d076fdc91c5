"""Names of resources, built and parsed here alone."""

from __future__ import annotations

import re

from talweg.spec.errors import shown

_JOB = re.compile(r"jobs/([A-Za-z0-9][A-Za-z0-9_-]{0,99})")


def job_name(job_id: str) -> str:
    """Give the name of the job with an id: ``jobs/abc`` for ``abc``.

    Raises:
        ValueError: Where the id is not letters, digits, dashes and underscores, 100 at the most.
    """
    name = f"jobs/{job_id}"
    if _JOB.fullmatch(name) is None:
        raise ValueError(
            f"a job's id must be letters, digits, '-' and '_', 1 to 100, but got {shown(job_id)}"
        )
    return name


def job_id(name: str) -> str:
    """Give the id in a job's name: ``abc`` for ``jobs/abc``.

    Raises:
        ValueError: Where the name has another form.
    """
    match = _JOB.fullmatch(name)
    if match is None:
        raise ValueError(f"a job's name must be jobs/ID, but got {shown(name)}")
    return match[1]
