"""Stored data sets that specs name: which version a job reads, and what it holds for the job.

Both stand in the job's spec from its submission on, so that whatever repeats the job reads the
same bytes, though the name may stand for a newer version by then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from talweg.server.store import jobs, stored_datasets
from talweg.spec import Violation, arrays_of, job_id, task_kind
from talweg.spec.errors import one_of, shown
from talweg.spec.semantics.pairs_triplets import fill_examples
from talweg.spec.spelling import nearest
from talweg.spec.stored import DatasetName, facts_of, name_weights, roles_of
from talweg.v1.datasets_pb2 import ReadOptions, StoredData
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import StoredDataset

_AT = "dataset.stored"
_MOST_NAMES = 10
PREFIX = "datasets/"
"""What the names of data sets begin with, among a job's links."""


@dataclass(frozen=True)
class Version:
    """A version that was found."""

    name: DatasetName
    """With its whole digest."""
    info: StoredDataset
    """All that is known of it."""


@dataclass(frozen=True)
class KnownData:
    """What the record holds of the data sets that some specs name."""

    versions: Mapping[DatasetName, Version]
    """By the name that was looked for."""
    pinned: Mapping[str, StoredData]
    """What the jobs read that specs go on with or replay, by the job's id."""
    names: Sequence[str] = ()
    """Of all data sets; only where one was not found."""


NOTHING_KNOWN = KnownData({}, {})
"""For specs that name no stored data."""


def reads_stored(spec: JobSpec) -> bool:
    """Tell whether a spec names a stored data set."""
    return spec.dataset.WhichOneof("kind") == "stored"


def look_up(connection: Connection, specs: Iterable[JobSpec]) -> KnownData:
    """Find the data sets that specs name, each once.

    Args:
        connection: To read by.
        specs: As they were given, those that name stored data.
    """
    specs = list(specs)
    sources = jobs.get_many(connection, {id_ for each in specs for id_ in _sources(each)})
    pinned = {
        id_: row.job_spec.dataset.stored
        for id_, row in sources.items()
        if reads_stored(row.job_spec)
    }
    wanted = {name for each in specs if (name := _wanted(each, pinned)) is not None}
    rows = stored_datasets.find_many(connection, wanted)
    infos: dict[int, StoredDataset] = {}
    versions = {}
    for name, row in rows.items():
        # Several names may mean one version.
        info = infos.setdefault(row.seq, StoredDataset())
        if not info.digest:
            info.ParseFromString(row.info)
        versions[name] = Version(DatasetName(row.name, row.digest), info)
    names = stored_datasets.known_names(connection) if wanted - rows.keys() else ()
    return KnownData(versions, pinned, names)


def with_data(
    spec: JobSpec, known: KnownData, *, retry_of: str = ""
) -> tuple[JobSpec, list[Violation]]:
    """Say in a spec which version it reads, and what that holds for it.

    Args:
        spec: As it was given, within the limits of specs; names stored data.
        known: What `look_up` found.
        retry_of: The name of the job that it repeats; empty where it repeats none.

    Returns:
        A completed copy, and all violations. With violations the copy tells no facts.
    """
    whole = JobSpec()
    whole.CopyFrom(spec)
    stored = whole.dataset.stored
    # They are this server's to tell.
    stored.ClearField("facts")
    if not stored.name:
        return whole, []
    name = _wanted(spec, known.pinned)
    if name is None:
        # What is no name is refused by the field's own pattern, or names two versions.
        return whole, _two_versions(stored)
    version = known.versions.get(name)
    if version is None:
        return whole, [_missing(spec, name, known, retry_of)]
    stored.name, stored.digest = version.name.name, version.name.digest
    if version.info.options.format == ReadOptions.weights:
        hint = f"to start from these weights: weights: {{stored: {version.name.name}}}"
        found = f"{version.name.name}, the weights of a model"
        return whole, [Violation(f"{_AT}.name", found, "a data set", hint)]
    name_weights(whole)
    roles, _ = roles_of(version.info, stored)
    # What there is decides what a job of metric learning reads, where it does not say so.
    probe = JobSpec()
    probe.CopyFrom(whole)
    probe.dataset.stored.facts.arrays.extend(roles.array_names)
    fill_examples(probe)
    facts, violations = facts_of(version.info, stored, task_kind(spec), arrays_of(probe))
    if not violations:
        stored.facts.CopyFrom(facts)
        if version.info.source_uri:
            stored.facts.source_uri = version.info.source_uri
    return whole, violations


def link_of(spec: JobSpec) -> str:
    """Return the name of the version that a completed spec reads; empty where it reads none."""
    if not reads_stored(spec):
        return ""
    return str(DatasetName(spec.dataset.stored.name, spec.dataset.stored.digest))


def deleted(name: str) -> Violation:
    """Return what is wrong with a spec whose data set was deleted a moment ago."""
    return Violation(f"{_AT}.name", f"{name}, which was deleted", "a data set that is stored")


def _sources(spec: JobSpec) -> list[str]:
    names = (spec.replay.job, spec.continued_from.job)
    ids = []
    for name in names:
        try:
            ids.append(job_id(name))
        except ValueError:
            # None, or refused elsewhere.
            continue
    return ids


def _wanted(spec: JobSpec, pinned: Mapping[str, StoredData]) -> DatasetName | None:
    """Return the version to look for; None where the spec names none, or two."""
    stored = spec.dataset.stored
    name = DatasetName.parse(stored.name)
    if name is None:
        return None
    if stored.digest:
        if not stored.digest.startswith(name.digest):
            return None
        return DatasetName(name.name, stored.digest)
    if name.digest:
        return name
    for id_ in _sources(spec):
        source = pinned.get(id_)
        if source is not None and source.name == name.name:
            return DatasetName(name.name, source.digest)
    return name


def _two_versions(stored: StoredData) -> list[Violation]:
    if DatasetName.parse(stored.name) is None:
        return []
    return [
        Violation(
            f"{_AT}.digest",
            f"{stored.digest[:12]} beside the name {shown(stored.name)}",
            "one version",
            "leave digest out",
        )
    ]


def _missing(spec: JobSpec, name: DatasetName, known: KnownData, retry_of: str) -> Violation:
    at = f"{_AT}.name"
    source = retry_of or spec.replay.job or spec.continued_from.job
    if name.digest and source:
        return Violation(
            at,
            f"{name.name}@{name.digest[:12]}, which {source} has read and which was deleted",
            "a data set that is stored",
            "upload the same file again with the same options: it gets the same digest",
        )
    if name.digest and name.name in known.names:
        return Violation(
            at,
            f"{name.name}@{name.digest[:12]}, a version that is not stored, or not any more",
            "a version that is stored",
            f"talweg data list shows them; {name.name} alone means the newest",
        )
    close = nearest(name.name, known.names)
    some = one_of(known.names[:_MOST_NAMES]) if known.names else "the name of a stored data set"
    hint = close or "upload the data first: talweg data add FILE --name " + name.name
    return Violation(at, shown(name.name), some, hint)
