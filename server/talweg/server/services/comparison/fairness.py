"""What is unequal between groups, beside what they are grouped by."""

from collections.abc import Callable, Sequence

from google.protobuf.message import Message

from talweg.server.differences import differing, is_repetition
from talweg.server.queries.grouping import canonical, value_at
from talweg.server.services.comparison.compare import Group
from talweg.server.services.comparison.same_data import clear_seeds
from talweg.server.store.record.rows import JobRow
from talweg.spec import label
from talweg.v1.answers_pb2 import Answer
from talweg.v1.datasets_pb2 import Dataset
from talweg.v1.jobs_pb2 import Outcome, Progress

_MOST_PATHS = 20
_MOST_VALUES = 3
NUM_VALUES = "number of values"
"""What is unequal where groups have different numbers of values."""
NOTHING = "no values"
"""What stands in place of the values of a group without any."""


def inequalities(
    groups: Sequence[Group], num_values: Sequence[int], group_by: Sequence[str]
) -> list[Answer.Inequality]:
    """Name what differs between the jobs behind the values of the groups.

    Groups without values have nothing that could differ.

    Args:
        groups: The groups.
        num_values: How many independent values each of them has.
        group_by: The paths that they are grouped by.
    """
    jobs = [[row.job for row in group.rows if row.counts] for group in groups]
    facts: list[tuple[str, list[set[str]]]] = [
        (path, [{_at(path, job) for job in each} for each in jobs])
        for path in _paths(jobs, [canonical(path) for path in group_by])
    ]
    facts += [
        (what, [{read(job) for job in each} - {""} for each in jobs])
        for what, read in _RECORDED.items()
    ]
    facts.append((NUM_VALUES, [{str(number)} if number else set() for number in num_values]))
    facts.append(
        ("jobs not SUCCEEDED", [{f"{len(each.rows) - each.num_succeeded}"} for each in groups])
    )
    return [
        Answer.Inequality(what=what, values=map(_joined, values))
        for what, values in facts
        if len({frozenset(each) for each in values if each}) > 1
    ]


def _paths(jobs: Sequence[Sequence[JobRow]], group_by: Sequence[str]) -> list[str]:
    """Return the paths at which specs differ, all of the data set as one."""
    specs = [job.job_spec for each in jobs for job in each]
    if not specs:
        return []
    paths: dict[str, None] = {}
    for path in differing(specs):
        if is_repetition(path) or any(_is_within(path, by) for by in group_by):
            continue
        paths["dataset" if path.startswith("dataset.") else path] = None
    return list(paths)[:_MOST_PATHS]


def _is_within(path: str, by: str) -> bool:
    """Return whether one path is the other, or a part of it."""
    return f"{path}.".startswith(f"{by}.") or f"{by}.".startswith(f"{path}.")


def _at(path: str, job: JobRow) -> str:
    if path != "dataset":
        items = _items_at(job.job_spec, path)
        return value_at(job.job_spec, path) if items is None else ", ".join(items)
    dataset = Dataset()
    dataset.CopyFrom(job.job_spec.dataset)
    if dataset.HasField("stored"):
        return f"{dataset.stored.name.partition('@')[0]}@{dataset.stored.digest[:12]}"
    clear_seeds(dataset)
    return label(dataset)


def _items_at(spec: Message, path: str) -> list[str] | None:
    """Return the items of a list of messages or of a map, of which a grouping takes one alone."""
    *parents, name = path.split(".")
    for parent in parents:
        spec = getattr(spec, parent)
    field, value = spec.DESCRIPTOR.fields_by_name[name], getattr(spec, name)
    if not field.is_repeated or field.message_type is None:
        return None
    if field.message_type.GetOptions().map_entry:
        return [f"{key}={value[key]}" for key in sorted(value)]
    return [label(item) for item in value]


def _joined(values: set[str]) -> str:
    more = f", … ({len(values)} values)" if len(values) > _MOST_VALUES else ""
    return (", ".join(sorted(values)[:_MOST_VALUES]) + more) or NOTHING


def _steps(job: JobRow) -> str:
    total = Progress.FromString(job.progress or b"").total_steps
    return f"{total}" if total else ""


def _environment(name: str) -> Callable[[JobRow], str]:
    def read(job: JobRow) -> str:
        outcome = Outcome.FromString(job.outcome or b"")
        return str(getattr(outcome.environment, name))

    return read


_RECORDED: dict[str, Callable[[JobRow], str]] = {
    "steps": _steps,
    "device": _environment("device"),
    "device name": _environment("device_name"),
    "version of talweg": _environment("talweg"),
    "version of torch": _environment("torch"),
}
