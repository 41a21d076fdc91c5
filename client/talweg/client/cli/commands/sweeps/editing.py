"""What `talweg submit` shows of an edited sweep before it creates it."""

import sys

import click

from talweg.client import Client, InvalidRequest, InvalidSpec
from talweg.client.cli._common import note
from talweg.spec import Violation, escape_control
from talweg.v1.sweeps_pb2 import SweepDifference, SweepSpec

# Sweeps among which the earlier version is looked for.
_MOST_SWEEPS = 200
_MOST_SETTINGS = 10
_MARKS = {
    SweepDifference.NEW: "new",
    SweepDifference.KEPT: "kept",
    SweepDifference.AGAIN: "run again",
    SweepDifference.REMOVED: "removed",
}


def may_create(client: Client, spec: SweepSpec, *, edits: str, yes: bool) -> bool:
    """Show in what a sweep differs from its earlier version, and ask whether to create it.

    Args:
        client: To ask.
        spec: Of the new one, as in its file.
        edits: The earlier version; where empty, the latest sweep of the same display_name.
        yes: Do not ask.

    Returns:
        Whether it is to be created: also where it has no earlier version, or nothing differs.

    Raises:
        InvalidRequest: There is nobody to ask.
        TalwegError: The earlier version does not exist, or another error of the server.
    """
    earlier = edits or _of_same_name(client, spec.display_name)
    if not earlier:
        return True
    try:
        found = client.sweep(spec, edits=earlier, validate_only=True).difference
    except InvalidSpec:
        return True  # What is wrong is told where the sweep is created.
    if found is None:
        return True  # A server of an earlier version.
    for line in lines_of(found):
        note(line)
    # What has not ended, or not well, is run again without having been edited.
    differs = found.num_new or found.num_removed or found.changes
    if yes or not differs:
        return True
    if not sys.stdin.isatty():
        hint = "add --yes to create it as it is, or change display_name to make it another sweep"
        what = f"an edit of {found.sweep}"
        raise InvalidRequest(violations=[Violation("sweep", what, "a confirmed edit", hint)])
    return click.confirm("Create it?", err=True)


def _of_same_name(client: Client, name: str) -> str:
    """Return the latest sweep of a display name; empty where there is none."""
    if not name:
        return ""
    found = client.sweeps(limit=_MOST_SWEEPS)
    return next((each.name for each in found if each.message.spec.display_name == name), "")


def lines_of(found: SweepDifference) -> list[str]:
    """Say a difference in lines."""
    counts = (
        f"{found.num_new:,} new, {found.num_kept:,} kept, {found.num_again:,} run again, "
        f"{found.num_removed:,} removed"
    )
    of_those = "" if found.is_complete else " of those that were looked at"
    taken = f"{found.num_taken_over:,} of {found.num_jobs:,} jobs are taken over"
    if found.num_continued:
        taken += f", {found.num_continued:,} go on from shorter ones"
    lines = [f"an edit of {found.sweep}: settings{of_those}: {counts}; {taken}"]
    shown = [each for each in found.settings if each.kind != SweepDifference.KEPT or each.why]
    for each in shown[:_MOST_SETTINGS]:
        why = f" ({each.why})" if each.why else ""
        lines.append(f"  {_MARKS.get(each.kind, 'other')}: {each.label}{why}")
    left = found.num_new + found.num_again + found.num_removed - _MOST_SETTINGS
    if left > 0:
        lines.append(f"  and {left:,} more")
    lines += [f"  {change}" for change in found.changes]
    return [escape_control(line) for line in [*lines, *found.remarks]]
