"""What makes single jobs one setting, and two jobs the same run."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from talweg.server.differences import is_repetition
from talweg.spec import flatten
from talweg.v1.spec_pb2 import JobSpec

TAG_PROPOSAL: Final = "proposal"
"""A tag that makes a proposal of its own of jobs whose settings are those of others."""
_BESIDE: Final = (
    "display_name", "experiment", "tags.", "priority", "outputs.", "resources.", "session"
)  # fmt: skip
# What is told and kept of a training, and where it began, leave its result as it is.
_TOLD: Final = (
    "continued_from.", "diagnostics.", "training.log_every_steps", "training.read_every_steps",
    "training.checkpoints.",
)  # fmt: skip
_MOST_KNOWN = 10_000


def setting_digest(spec: JobSpec) -> bytes:
    """Return a digest of what makes a setting: all but seeds, folds, names and what is kept."""
    deciding = [
        f"{path}={value}"
        for path, value in sorted(flatten(spec).items())
        if not is_repetition(path) and not path.startswith(_BESIDE)
    ]
    return _digest([*deciding, spec.tags.get(TAG_PROPOSAL, "")])


@lru_cache(maxsize=_MOST_KNOWN)
def run_digest(spec: bytes) -> bytes:
    """Return a digest that jobs have in common which come out alike: seeds and folds count.

    Args:
        spec: Filled, serialised.
    """
    return _digest(
        f"{path}={value}"
        for path, value in sorted(flatten(JobSpec.FromString(spec)).items())
        if not path.startswith((*_BESIDE, *_TOLD))
    )


def _digest(lines: Iterable[str]) -> bytes:
    return hashlib.sha256("\n".join(lines).encode()).digest()
