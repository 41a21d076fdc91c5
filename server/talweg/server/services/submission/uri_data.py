"""Data that specs name by URIs: read before the specs are checked, and named as stored data then.

What a job reads stands in its spec by its digest, so that whatever repeats the job reads the same
bytes, though the file may be another one by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from talweg.server.concurrency.fair_executor import FairExecutor
from talweg.server.errors import ServerError
from talweg.server.store.record.rows import StoredDatasetRow
from talweg.spec import MAX_SPEC_BYTES, SpecError, Violation, check_message
from talweg.spec.checks.limits import check_fillable
from talweg.spec.stored.uris import BadUriError, parse_uri, root_of
from talweg.v1.datasets_pb2 import UriData
from talweg.v1.spec_pb2 import JobSpec

AT_URI, AT_STORED = "dataset.uri", "dataset.stored"
"""Where data that are read by URI, and stored data, stand in a spec."""
_OF_URIS: Final = ("uri", "name", "read")


class DataSources(Protocol):
    """What reads data by URIs."""

    async def stored(self, data: UriData) -> StoredDatasetRow:
        """Return the data set that a URI stands for now.

        Raises:
            SpecError: It may not be read, or cannot be; carries all violations.
            ServerError: It cannot be read for another reason.
        """


class _NoSources:
    async def stored(self, data: UriData) -> StoredDatasetRow:
        root_of(parse_uri(data.uri), ())
        raise AssertionError  # No root holds anything.


NO_SOURCES: Final[DataSources] = _NoSources()
"""Where no data may be read by URIs."""


@dataclass(frozen=True)
class ReadSpec:
    """A spec whose data have been read."""

    spec: JobSpec
    """With stored data in the place of a URI; as it was given where that cannot be read."""

    violations: Sequence[Violation] = ()
    """What is wrong with the data."""

    error: ServerError | None = None
    """Why they cannot be read, where that is not the spec's fault."""

    is_of_uri: bool = False
    """Whether the caller has named a URI."""


def names_uri(spec: JobSpec) -> bool:
    """Tell whether a spec names its data by a URI."""
    return spec.dataset.WhichOneof("kind") == "uri"


async def with_stored(
    specs: Sequence[JobSpec],
    sources: DataSources,
    checks: FairExecutor,
    caller: str,
    *,
    versions: Sequence[str],
) -> list[ReadSpec]:
    """Read the data of specs one after another, so that no caller takes all turns.

    Args:
        specs: As they were given.
        sources: Reads data.
        checks: Where specs are looked at before that.
        caller: Who has sent them.
        versions: For each the version that a job reads which was made of it before; empty where
            its data are to be read.

    Returns:
        Each spec with stored data in the place of a URI.
    """
    known: dict[bytes, ReadSpec] = {}
    results = []
    for spec, version in zip(specs, versions, strict=True):
        if not names_uri(spec):
            results.append(ReadSpec(spec))
        elif not await checks.run(caller, _may_be_read, spec):
            # Its rules say why.
            results.append(ReadSpec(spec, is_of_uri=True))
        elif version:
            results.append(_replaced(spec, _of_version(version)))
        else:
            key = _without_roles(spec.dataset.uri).SerializeToString(deterministic=True)
            if key not in known:
                known[key] = await _read(spec.dataset.uri, sources)
            results.append(_replaced(spec, known[key]))
    return results


async def _read(data: UriData, sources: DataSources) -> ReadSpec:
    """Return a spec with nothing but stored data, or why there are none."""
    try:
        row = await sources.stored(data)
    except BadUriError as exc:
        return ReadSpec(JobSpec(), [exc.violation])
    except SpecError as exc:
        return ReadSpec(JobSpec(), exc.violations)
    except ServerError as exc:
        # Of this file alone: what else stands in its batch goes through.
        return ReadSpec(JobSpec(), error=exc)
    return _of_version(f"{row.name}@{row.digest}")


def _of_version(version: str) -> ReadSpec:
    found = JobSpec()
    found.dataset.stored.name = version
    return ReadSpec(found)


def _replaced(spec: JobSpec, read: ReadSpec) -> ReadSpec:
    if not read.spec.HasField("dataset"):
        return ReadSpec(spec, read.violations, read.error, is_of_uri=True)
    changed, roles = JobSpec(), UriData()
    changed.CopyFrom(spec)
    roles.CopyFrom(spec.dataset.uri)
    for field in _OF_URIS:
        roles.ClearField(field)
    # The roles have the same numbers in both messages; a test holds them alike.
    changed.dataset.stored.ParseFromString(roles.SerializeToString())
    changed.dataset.stored.name = read.spec.dataset.stored.name
    return ReadSpec(changed, is_of_uri=True)


def _may_be_read(spec: JobSpec) -> bool:
    if spec.ByteSize() > MAX_SPEC_BYTES or check_fillable(spec):
        return False
    data = _without_roles(spec.dataset.uri)
    if check_message(data, path=AT_URI):
        return False
    try:
        parse_uri(data.uri)
    except BadUriError:
        return False
    return True


def _without_roles(data: UriData) -> UriData:
    rest = UriData(uri=data.uri)
    if data.HasField("name"):
        rest.name = data.name
    if data.HasField("read"):
        rest.read.CopyFrom(data.read)
    return rest
