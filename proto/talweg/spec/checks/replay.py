"""Replaying a step of another job: the settings of both must be the same."""

from talweg.spec.catalogue.describe import flatten
from talweg.spec.errors import Violation
from talweg.spec.reading.fill import fill
from talweg.v1.spec_pb2 import JobSpec

# What has no part in how a job trains.
_BESIDE = (
    "display_name",
    "experiment",
    "tags.",
    "priority",
    "outputs.",
    "replay.",
    "session",
    "resources.time_limit_seconds",
)
_ABSENT = "nothing"


def check_replay(before: JobSpec, after: JobSpec) -> list[Violation]:
    """Check a replay against the job whose step it replays.

    Args:
        before: The other job's spec.
        after: The replay's, filled and checked.

    Returns:
        All violations.
    """
    # A job of an earlier version lacks what has a default by now.
    old, new = flatten(fill(before)), flatten(after)
    hint = "A replay has all settings of its job; only outputs and the time limit may differ."
    return [
        Violation(
            path,
            new.get(path, _ABSENT),
            f"{old.get(path, _ABSENT)}, as in {after.replay.job}",
            hint,
        )
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path) and not path.startswith(_BESIDE)
    ]
