"""Whether groups are of one task and one data set."""

from collections.abc import Iterable, Sequence

from google.protobuf.message import Message

from talweg.server.queries.grouping import canonical
from talweg.v1.spec_pb2 import JobSpec

_PARTS = ("task", "dataset")


def unequal_parts(specs: Sequence[Iterable[JobSpec]], group_by: Sequence[str]) -> list[str]:
    """Return which of task and data set differ between groups that are not grouped by them.

    Args:
        specs: Those behind the values of each group; groups without any do not differ.
        group_by: The paths that the jobs are grouped by.
    """
    grouped = {canonical(path).partition(".")[0] for path in group_by}
    groups = [list(group) for group in specs]
    return [
        part
        for part in _PARTS
        if part not in grouped
        and len(
            {frozenset(_bare(getattr(spec, part)) for spec in group) for group in groups if group}
        )
        > 1
    ]


def _bare(message: Message) -> bytes:
    """Return a message without its seeds, which repetitions draw anew."""
    bare = type(message)()
    bare.CopyFrom(message)
    clear_seeds(bare)
    return bare.SerializeToString(deterministic=True)


def clear_seeds(message: Message) -> None:
    """Clear all fields called seed of a message, in place."""
    for field, value in message.ListFields():
        if field.name == "seed":
            message.ClearField(field.name)
        elif field.message_type is not None and not field.is_repeated:
            clear_seeds(value)
