"""Names that come from outside and become paths, keys or parts of a query.

All are built and parsed here alone, and matched as a whole: `$` would let a line feed pass behind
a name. What the service stores, what a worker reads or removes, and what is asked of MLflow is
named by these.
"""

import re
from dataclasses import dataclass

from talweg.spec.characters import has_control
from talweg.spec.errors import shown

_ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
_JOB_ID = re.compile(_ID)
_JOB = re.compile(rf"jobs/({_ID})")
_SWEEP = re.compile(rf"sweeps/({_ID})")
_SESSION = re.compile(rf"sessions/({_ID})")
_CHECKPOINT = re.compile(
    rf"(?P<job>jobs/{_ID})/checkpoints/(?P<step>[0-9]{{12,19}})-(?P<attempt>[0-9]{{1,10}})"
    r"(?P<best>-best)?"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TRACKING_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#]+(?:[/?#]\S*)?")
# No part begins with a dot: neither "." nor "..", nor the name of a file under way.
_BLOB_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_BLOB_PATH = re.compile(rf"{_BLOB_PART}(?:/{_BLOB_PART})*")
_MODEL_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
_MAX_BLOB_CHARS = 500


def is_job_id(text: str) -> bool:
    """Tell whether a text is a job's id: letters, digits, dashes and underscores, 1 to 100."""
    return _JOB_ID.fullmatch(text) is not None


def job_name(job_id: str) -> str:
    """Give the name of the job with an id: ``jobs/abc`` for ``abc``.

    Raises:
        ValueError: Where the id is not letters, digits, dashes and underscores, 100 at the most.
    """
    if not is_job_id(job_id):
        raise ValueError(
            f"a job's id must be letters, digits, '-' and '_', 1 to 100, but got {shown(job_id)}"
        )
    return f"jobs/{job_id}"


def job_id(name: str) -> str:
    """Give the id in a job's name: ``abc`` for ``jobs/abc``.

    Raises:
        ValueError: Where the name has another form.
    """
    match = _JOB.fullmatch(name)
    if match is None:
        raise ValueError(f"a job's name must be jobs/ID, but got {shown(name)}")
    return match[1]


def sweep_name(sweep_id: str) -> str:
    """Give the name of the sweep with an id: ``sweeps/abc`` for ``abc``.

    Raises:
        ValueError: Where the id is not letters, digits, dashes and underscores, 100 at the most.
    """
    if not is_job_id(sweep_id):
        raise ValueError(
            "a sweep's id must be letters, digits, '-' and '_', 1 to 100, "
            f"but got {shown(sweep_id)}"
        )
    return f"sweeps/{sweep_id}"


def sweep_id(name: str) -> str:
    """Give the id in a sweep's name: ``abc`` for ``sweeps/abc``.

    Raises:
        ValueError: Where the name has another form.
    """
    match = _SWEEP.fullmatch(name)
    if match is None:
        raise ValueError(f"a sweep's name must be sweeps/ID, but got {shown(name)}")
    return match[1]


def session_name(session_id: str) -> str:
    """Give the name of the session with an id: ``sessions/abc`` for ``abc``.

    Raises:
        ValueError: Where the id is not letters, digits, dashes and underscores, 100 at the most.
    """
    if not is_job_id(session_id):
        raise ValueError(
            "a session's id must be letters, digits, '-' and '_', 1 to 100, "
            f"but got {shown(session_id)}"
        )
    return f"sessions/{session_id}"


def session_id(name: str) -> str:
    """Give the id in a session's name: ``abc`` for ``sessions/abc``.

    Raises:
        ValueError: Where the name has another form.
    """
    match = _SESSION.fullmatch(name)
    if match is None:
        raise ValueError(f"a session's name must be sessions/ID, but got {shown(name)}")
    return match[1]


def checkpoint_folder(job: str) -> str:
    """Give the folder of a job's checkpoints in the blob store.

    Raises:
        ValueError: That is not a job's name.
    """
    return f"jobs/{job_id(job)}/checkpoints"


@dataclass(frozen=True)
class CheckpointName:
    """What the name of a checkpoint says; as text it is the name."""

    job: str
    """jobs/{id}."""
    step: int
    """Optimizer steps done."""
    attempt: int
    """The attempt that wrote it."""
    best: bool = False
    """It is of the best evaluation so far."""

    def __str__(self) -> str:
        """Give its path in the blob store, without the ending of its files."""
        ending = "-best" if self.best else ""
        return f"{checkpoint_folder(self.job)}/{self.step:012}-{self.attempt}{ending}"

    @classmethod
    def parse(cls, name: str) -> "CheckpointName":
        """Read a checkpoint's name.

        Raises:
            ValueError: It is none, or not in the form that `str` gives.
        """
        match = _CHECKPOINT.fullmatch(name)
        if match is not None:
            step, attempt = int(match["step"]), int(match["attempt"])
            parsed = cls(match["job"], step, attempt, best=match["best"] is not None)
            if str(parsed) == name:
                return parsed
        raise ValueError(
            "a checkpoint's name must be jobs/ID/checkpoints/STEP-ATTEMPT, the step in 12 digits "
            f"at least, with the suffix -best for the best, but got {shown(name)}"
        )


def is_sha256(text: str) -> bool:
    """Tell whether a text is a sha256 in hexadecimal: 64 hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def is_tracking_id(text: str) -> bool:
    """Tell whether a text can be the id of a run or an experiment in MLflow."""
    return _TRACKING_ID.fullmatch(text) is not None


def is_web_address(text: str) -> bool:
    """Tell whether a text is an address of http or https that is safe to show and to follow."""
    return _WEB_ADDRESS.fullmatch(text) is not None and not has_control(text)


def is_model_folder(text: str) -> bool:
    """Tell whether a text can name a folder in the operator's folder of models."""
    return _MODEL_FOLDER.fullmatch(text) is not None


def is_blob_path(text: str) -> bool:
    """Tell whether a text can be a path in the blob store.

    It is relative, its parts are letters, digits, dots, dashes and underscores, and none begins
    with a dot.
    """
    return len(text) <= _MAX_BLOB_CHARS and _BLOB_PATH.fullmatch(text) is not None
