"""Convert job files and Python values to specs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor

from talweg.client._errors import InvalidSpec, from_spec_error
from talweg.client.data._files_in_specs import with_absolute_paths
from talweg.spec import MAX_SPEC_BYTES, MAX_VIOLATIONS, SpecError, Violation
from talweg.v1.spec_pb2 import JobSpec

SpecLike = JobSpec | Mapping[str, Any] | str | os.PathLike[str]
"""A spec: the message, its JSON form, or the path of a job file."""

MAX_FILE_BYTES: Final = 1024 * 1024
"""The largest size of a job file."""
MAX_BATCH_VALUES: Final = 1_000_000
"""Names and values of all jobs of a file, with those of the base in each."""
_BATCH_FIELDS: Final = ("base", "jobs")


def to_spec(value: SpecLike) -> JobSpec:
    """Convert a value to a spec, and check that it is small enough to send.

    Raises:
        InvalidSpec: The spec is invalid; with all violations.
        OSError: The job file cannot be read.
    """
    if isinstance(value, JobSpec):
        spec = value
    elif isinstance(value, Mapping):
        spec = _from_dict(value)
    else:
        read = read_jobs(value)
        if len(read) != 1:
            raise InvalidSpec(
                violations=[
                    Violation(
                        "",
                        f"a batch of {len(read)} jobs",
                        "one job",
                        f"use submit_many({os.fspath(value)!r})",
                    )
                ],
                source=os.fspath(value),
            )
        (spec,) = read
    check_size(spec)
    return spec


def check_size(spec: JobSpec) -> None:
    """Check that a spec is not too large for servers.

    Raises:
        InvalidSpec: It is too large.
    """
    if spec.ByteSize() > MAX_SPEC_BYTES:
        size = f"a spec of {_size(spec.ByteSize())}"
        raise InvalidSpec(
            violations=[Violation("", size, f"at most {_size(MAX_SPEC_BYTES)}")],
            reason="INVALID_SPEC",
        )


def read_jobs(path: str | os.PathLike[str], *, overrides: Sequence[str] = ()) -> list[JobSpec]:
    """Read a job file with one job, or a batch file with many.

    A batch file has `jobs`, a list of specs, and `base`, their common fields: the fields of a job
    override those of the base. A choice, such as a loss with its parameters, is replaced as a
    whole; null removes a field of the base.

    Args:
        path: A YAML or JSON file.
        overrides: Changes to each job, such as ``training.epochs=5``.

    Raises:
        InvalidSpec: Jobs are invalid; with all violations up to a limit.
        OSError: The file cannot be read.
    """
    source = os.fspath(path)
    specs = jobs_of(file_value(path), source=source, overrides=overrides)
    for spec in specs:
        with_absolute_paths(spec, Path(path).parent.absolute())
    return specs


def file_value(path: str | os.PathLike[str]) -> object:
    """Return what a job file holds, in JSON form.

    Raises:
        InvalidSpec: It is neither YAML nor JSON, or too large.
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
        size = os.fstat(file.fileno()).st_size
    return text_value(content, source=os.fspath(path), size=size)


def text_value(content: bytes, *, source: str, size: int = 0) -> object:
    """Return what the content of a job file holds, in JSON form.

    Args:
        content: YAML or JSON in UTF-8.
        source: Its name in errors.
        size: The bytes of the whole file, if the content was cut off.

    Raises:
        InvalidSpec: It is neither YAML nor JSON, or too large.
    """
    from talweg.spec import read

    size = max(size, len(content))
    if size > MAX_FILE_BYTES:
        violation = Violation("", f"a file of {_size(size)}", f"at most {_size(MAX_FILE_BYTES)}")
        raise InvalidSpec(violations=[violation], source=source)
    try:
        return read(content.decode("utf-8"), source=source)
    except UnicodeDecodeError as error:
        violation = Violation("", f"byte {error.start} that is not UTF-8", "YAML or JSON in UTF-8")
        raise InvalidSpec(violations=[violation], source=source) from error
    except SpecError as error:
        raise from_spec_error(error, source=source) from error


def parse_jobs(content: bytes, *, source: str, overrides: Sequence[str] = ()) -> list[JobSpec]:
    """Read the content of a job file or batch file; see `read_jobs`.

    Args:
        content: YAML or JSON in UTF-8.
        source: Its name in errors.
        overrides: Changes to each job.

    Raises:
        InvalidSpec: Jobs are invalid; with all violations up to a limit.
    """
    return jobs_of(text_value(content, source=source), source=source, overrides=overrides)


def is_sweep(value: object) -> bool:
    """Return whether what a file holds is a sweep, and no job or batch."""
    return isinstance(value, Mapping) and "space" in value and "jobs" not in value


def jobs_of(value: object, *, source: str, overrides: Sequence[str] = ()) -> list[JobSpec]:
    """Convert what a job file or batch file holds; see `read_jobs`.

    Args:
        value: In JSON form.
        source: The name of the file in errors.
        overrides: Changes to each job.

    Raises:
        InvalidSpec: Jobs are invalid; with all violations up to a limit.
    """
    from talweg.spec import override

    if is_sweep(value):
        violation = Violation("", "a sweep", "a job or a batch", f"use client.sweep({source!r})")
        raise InvalidSpec(violations=[violation], source=source)
    try:
        documents = _documents(value)
        changed = [
            override(document, overrides) if isinstance(document, Mapping) else document
            for document in documents
        ]
    except SpecError as error:
        raise from_spec_error(error, source=source) from error
    specs: list[JobSpec] = []
    refused: dict[int, InvalidSpec] = {}
    distinct = set[Violation]()
    for index, document in enumerate(changed):
        try:
            specs.append(_from_dict(document))
        except InvalidSpec as error:
            refused[index] = error
            distinct.update(error.violations)
            if len(distinct) > MAX_VIOLATIONS:
                break  # The limit for one job; further jobs would only add to it.
    if refused:
        raise InvalidSpec(
            violations=gather(refused, total=len(specs) + len(refused)),
            source=source,
            reason="INVALID_SPEC",
        )
    return specs


def gather(refused: Mapping[int, InvalidSpec], *, total: int) -> list[Violation]:
    """Collect the violations of a batch; those that all jobs share appear once."""
    places: dict[Violation, list[int]] = {}
    for index, error in refused.items():
        for violation in error.violations:
            places.setdefault(violation, []).append(index)
    gathered = []
    for violation, indices in places.items():
        if len(indices) == total:
            gathered.append(violation)
            continue
        for index in indices:
            field = f"jobs[{index}].{violation.field}".rstrip(".")
            gathered.append(Violation(field, violation.found, violation.allowed, violation.hint))
    return gathered


def merge(base: object, changes: object, descriptor: Descriptor) -> object:
    """Merge changes into a base, both in the JSON form of a message.

    Args:
        base: The base value.
        changes: The changes: field by field in messages and maps, otherwise as a whole.
        descriptor: The message.
    """
    if not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return changes
    if descriptor.GetOptions().map_entry:
        return {**base, **changes}
    if "kind" in descriptor.oneofs_by_name:
        return changes
    result = dict(base)
    for name, value in changes.items():
        field = descriptor.fields_by_name.get(name)
        if field is None:
            result[name] = value
            continue
        if field.containing_oneof is not None:
            for sibling in field.containing_oneof.fields:
                if sibling.name != name:
                    result.pop(sibling.name, None)
        part = field.message_type
        if part is not None and field.is_repeated and not part.GetOptions().map_entry:
            part = None
        if name in result and part is not None:
            value = merge(result[name], value, part)
        result[name] = value
    return result


def _documents(value: object) -> list[Any]:
    """Return the jobs of a file, each in JSON form."""
    if not isinstance(value, Mapping) or not value.keys() & set(_BATCH_FIELDS):
        return [value]
    violations = [
        Violation(str(name), "a field of a job", "base and jobs", "move it under base")
        for name in value
        if name not in _BATCH_FIELDS
    ]
    base, jobs = value.get("base") or {}, value.get("jobs")
    if not isinstance(base, Mapping):
        violations.append(Violation("base", f"{base!r}"[:80], "an object: the fields of a job"))
    if not isinstance(jobs, list) or not jobs:
        hint = "" if "jobs" in value else "or space, for a sweep"
        violations.append(Violation("jobs", f"{jobs!r}"[:80], "a list of jobs, at least 1", hint))
    if violations:
        raise SpecError(violations)
    assert isinstance(jobs, list)
    # Each job holds the base: a small file can stand for a huge batch.
    size = len(jobs) * count_values(base) + count_values(jobs)
    if size > MAX_BATCH_VALUES:
        raise SpecError(
            [
                Violation(
                    "jobs",
                    f"{len(jobs):,} jobs with {size:,} names and values, those of base in each",
                    f"at most {MAX_BATCH_VALUES:,}",
                    "split the file into several, or make base smaller",
                )
            ]
        )
    return [merge(base, job, JobSpec.DESCRIPTOR) if job is not None else base for job in jobs]


def count_values(value: object) -> int:
    """Return how many names and values a JSON value consists of."""
    count, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, Mapping):
            count += len(value)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return count


def _from_dict(value: object) -> JobSpec:
    from talweg.spec import from_dict

    try:
        return from_dict(value)
    except SpecError as error:
        raise from_spec_error(error) from error


def _size(num_bytes: int) -> str:
    if num_bytes >= 1024 * 1024:
        return f"{num_bytes / (1024 * 1024):.1f} MiB"
    return f"{num_bytes / 1024:.0f} KiB"
