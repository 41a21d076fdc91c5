"""A job's data that a plug-in returns."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.plugins import Data
from talweg.spec import Violation, arrays_of, check, task_kind
from talweg.spec.stored import facts_of, roles_of
from talweg.v1.datasets_pb2 import StoredData
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec, Split
from talweg.worker.data.bundle import DataBundle
from talweg.worker.data.plugin.describing import MemoryColumns, describe, digest, information
from talweg.worker.data.raw import RawData
from talweg.worker.data.split import Division
from talweg.worker.data.stored.opening import OpenedDataset
from talweg.worker.data.stored.source import StoredSource, raw_data
from talweg.worker.errors import UserSpecError
from talweg.worker.plugins import InstalledPlugin, find

_ROLES = ("target", "group", "time", "split", "difficulty")
_LISTED_ROLES = ("targets", "inputs", "ignore")
_WORDINGS = (
    (re.compile(r"\bdataset\.stored\b"), "dataset.plugin"),
    (re.compile(r"upload it as categories: .*"), "return it as a categorical of pandas"),
    (re.compile(r"\b(in|from) the file\b"), r"\1 the data"),
)


class PluginSource(StoredSource):
    """A plug-in's data as one job reads them."""

    @property
    def name(self) -> str:
        """The plug-in's name."""
        return self.source.name

    @property
    def label(self) -> str:
        """The plug-in's name and the digest of its data, for people."""
        return f"{self.source.name}@{self.source.digest[:8]}"

    def divide(self, split: Split, classes: NDArray[np.int64] | None = None) -> Division | None:
        """Divide the samples by the column that the plug-in names for it."""
        with _reworded():
            return super().divide(split, classes)

    def worded(self, warnings: Sequence[Warning]) -> tuple[Warning, ...]:
        """Return warnings as they are about a plug-in's data."""
        return tuple(
            Warning(kind=each.kind, field=_own(each.field), message=_own(each.message))
            for each in warnings
        )


def load(spec: JobSpec) -> RawData:
    """Have a plug-in return the data of a filled spec.

    Raises:
        UserSpecError: It is not installed, fails, or its data do not suit the job.
    """
    message = spec.dataset.plugin
    plugin = find(message)
    data = _data(plugin, plugin.make(message.parameters or "{}"))
    try:
        columns = describe(data.columns, class_names=_names_by_column(data))
    except UserSpecError as exc:
        raise UserSpecError(f"plug-in '{plugin.name}' {exc}") from exc
    roles = {name: getattr(data, name) for name in _ROLES}
    listed = {name: list(getattr(data, name)) for name in _LISTED_ROLES}
    source = StoredData(
        name=message.name,
        digest=digest(columns, roles, listed, list(data.class_names)),
    )
    for name, value in roles.items():
        if value:
            setattr(source, name, value)
    for name, values in listed.items():
        getattr(source, name).extend(values)
    info, wanted, task = information(columns), arrays_of(spec), task_kind(spec)
    facts, violations = facts_of(info, source, task, wanted)
    _refuse(plugin, [_about_data(each) for each in violations])
    # Whoever has set up the job holds the rest of the spec against them.
    source.facts.CopyFrom(facts)
    roles_of_columns, _ = roles_of(info, source)
    stored = PluginSource(source, OpenedDataset(info, MemoryColumns(columns)), roles_of_columns)
    with _reworded():
        raw = raw_data(stored, facts, task, wanted)
    return _with_class_names(raw, data, plugin)


def warnings_of(spec: JobSpec, bundle: DataBundle) -> tuple[Warning, ...]:
    """Hold a spec against what only its data tell, as the server does of data that it knows.

    Args:
        spec: Filled and checked by itself.
        bundle: Its data.

    Returns:
        Warnings that the spec alone has not brought; none where the data are no plug-in's.

    Raises:
        UserSpecError: Something does not suit the data.
    """
    if spec.dataset.WhichOneof("kind") != "plugin" or bundle.facts is None:
        return ()
    known = JobSpec()
    known.CopyFrom(spec)
    known.dataset.plugin.facts.CopyFrom(bundle.facts)
    violations, warnings = check(known)
    _refuse(find(spec.dataset.plugin), violations)
    _, before = check(spec)
    return tuple(each for each in warnings if each not in before)


def _data(plugin: InstalledPlugin, returned: Any) -> Data:
    """Return what a plug-in has returned, of which a bare table or mapping is the columns."""
    data = returned if isinstance(returned, Data) else Data(returned)
    lists = (*_LISTED_ROLES, "class_names")
    wrong = [name for name in _ROLES if not isinstance(getattr(data, name), str)]
    wrong += [
        name
        for name in lists
        if isinstance(getattr(data, name), str)
        or not all(isinstance(each, str) for each in getattr(data, name))
    ]
    if wrong:
        raise UserSpecError(
            f"plug-in '{plugin.name}' must return names as texts, but {wrong[0]} is "
            f"{getattr(data, wrong[0])!r}"
        )
    return data


def _names_by_column(data: Data) -> Mapping[str, Sequence[str]]:
    """Return the names of the classes by the column that counts them, where one does."""
    name = data.target or "y"
    columns = data.columns
    if not data.class_names or data.targets or not hasattr(columns, "keys"):
        return {}
    # Of labels and of pixels the names are those of several outputs, and no column's values.
    is_single = name in columns.keys() and getattr(columns[name], "ndim", 1) == 1  # noqa: SIM118
    return {name: data.class_names} if is_single else {}


def _with_class_names(raw: RawData, data: Data, plugin: InstalledPlugin) -> RawData:
    if not data.class_names or not raw.class_names:
        return raw
    if len(data.class_names) != len(raw.class_names):
        raise UserSpecError(
            f"plug-in '{plugin.name}' has {len(data.class_names)} class_names, but its data have "
            f"{len(raw.class_names)} classes"
        )
    return replace(raw, class_names=tuple(data.class_names))


def _refuse(plugin: InstalledPlugin, violations: Sequence[Violation]) -> None:
    if violations:
        raise UserSpecError(
            f"the data of {plugin.label} do not suit the job: {'; '.join(map(str, violations))}"
        )


def _about_data(violation: Violation) -> Violation:
    """Return a violation of stored data as one of what a plug-in returns."""
    return Violation(
        _own(violation.field), _own(violation.found), _own(violation.allowed), _own(violation.hint)
    )


@contextmanager
def _reworded() -> Iterator[None]:
    try:
        yield
    except UserSpecError as exc:
        raise UserSpecError(_own(str(exc))) from exc


def _own(text: str) -> str:
    """Return what is said of stored data as it is about what a plug-in returns."""
    for pattern, own in _WORDINGS:
        text = pattern.sub(own, text)
    return text
