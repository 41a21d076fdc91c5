"""Convert sweep files and Python values to specs of sweeps."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from talweg.client._errors import from_spec_error
from talweg.client._files import check_size, file_value, is_sweep, jobs_of
from talweg.client.data._files_in_specs import with_absolute_paths
from talweg.spec import SpecError, from_dict, override
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import SweepSpec

SweepLike = SweepSpec | Mapping[str, Any] | str | os.PathLike[str]
"""The spec of a sweep: the message, its JSON form, or the path of a sweep file."""

_BASE: Final = "base"


def to_sweep(value: SweepLike) -> SweepSpec:
    """Convert a value to the spec of a sweep.

    Raises:
        InvalidSpec: The spec is invalid; with all violations.
        OSError: The sweep file cannot be read.
    """
    if isinstance(value, SweepSpec):
        spec = value
    elif isinstance(value, Mapping):
        spec = sweep_of(value)
    else:
        spec = read_sweep(value)
    check_size(spec.base)
    return spec


def read_sweep(path: str | os.PathLike[str], *, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep file.

    Args:
        path: A YAML or JSON file.
        overrides: Changes to its base, such as ``training.epochs=5``.

    Raises:
        InvalidSpec: The sweep is invalid; with all violations.
        OSError: The file cannot be read.
    """
    spec = sweep_of(file_value(path), source=os.fspath(path), overrides=overrides)
    with_absolute_paths(spec.base, Path(path).parent.absolute())
    return spec


def read_specs(
    path: str | os.PathLike[str], *, overrides: Sequence[str] = ()
) -> list[JobSpec] | SweepSpec:
    """Read a file of one job, of a batch, or of a sweep.

    Args:
        path: A YAML or JSON file.
        overrides: Changes to each job, or to the base of the sweep.

    Raises:
        InvalidSpec: The specs are invalid; with all violations up to a limit.
        OSError: The file cannot be read.
    """
    specs = specs_of(file_value(path), source=os.fspath(path), overrides=overrides)
    folder = Path(path).parent.absolute()
    for spec in [specs.base] if isinstance(specs, SweepSpec) else specs:
        with_absolute_paths(spec, folder)
    return specs


def specs_of(
    value: object, *, source: str, overrides: Sequence[str] = ()
) -> list[JobSpec] | SweepSpec:
    """Convert what a file holds to jobs or a sweep; see `read_specs`.

    Args:
        value: In JSON form.
        source: The name of the file, for errors.
        overrides: Changes to each job, or to the base of the sweep.

    Raises:
        InvalidSpec: The specs are invalid; with all violations up to a limit.
    """
    if is_sweep(value):
        return sweep_of(value, source=source, overrides=overrides)
    return jobs_of(value, source=source, overrides=overrides)


def sweep_of(value: object, *, source: str = "", overrides: Sequence[str] = ()) -> SweepSpec:
    """Convert what a file holds to the spec of a sweep.

    Args:
        value: In JSON form.
        source: The name of the file, for errors.
        overrides: Changes to its base.

    Raises:
        InvalidSpec: The sweep is invalid; with all violations.
    """
    try:
        if overrides and isinstance(value, Mapping):
            base = value.get(_BASE)
            if base is None or isinstance(base, Mapping):
                value = {**value, _BASE: override(base or {}, overrides)}
        return from_dict(value, SweepSpec)
    except SpecError as error:
        raise from_spec_error(error, source=source) from error
