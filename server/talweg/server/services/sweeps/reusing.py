"""Jobs that are taken over from earlier sweeps instead of being trained again.

A job is a pure function of its spec, the versions, the code of its plug-ins and the CPU. So what
stands in the record under the same digest, computed by the same code on the same kind of CPU, is
its result. And a job that differs in its length alone may be the first part of a longer one: see
`talweg.spec`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from sqlalchemy import Connection

from talweg.server.services.plugins import told
from talweg.server.services.submission.continuation import last_checkpoint, why_no_end
from talweg.server.store.record.rows import JobRow
from talweg.server.store.sweeps import trials
from talweg.spec import fill_message, length_of, why_no_prefix
from talweg.spec.broker import DEFAULT_QUEUE
from talweg.spec.plugins import KINDS, Told, plugin_key, plugin_uses
from talweg.v1.jobs_pb2 import Checkpoint, Environment, Outcome
from talweg.v1.plugins_pb2 import PluginDeclaration
from talweg.v1.spec_pb2 import JobSpec, Resources, Training

# They cannot change what comes of a job.
_NAMES = ("display_name", "experiment", "tags", "priority")
_MATTERS = ("talweg", "torch", "python", "device", "cpu_capability")


@dataclass(frozen=True)
class Cell:
    """What a job is known by."""

    digest: bytes = b""
    """Equal jobs have it in common; empty for one that always trains anew."""
    lineage: bytes = b""
    """Jobs that differ in their number of epochs, or of steps, alone have it in common; empty as
    `digest`."""
    length: int = 0
    """How many epochs or steps it has."""


NO_CELL = Cell()
"""Of a job that always trains anew."""


@dataclass(frozen=True)
class Source:
    """A job that a longer one may go on from."""

    job: JobRow
    """The job, which SUCCEEDED."""
    checkpoint: Checkpoint | None
    """Of its end; None where the longer one must train anew."""
    why: str
    """Why it must; empty where it goes on."""


def cell_of(spec: JobSpec) -> Cell:
    """Return what a job is known by.

    Args:
        spec: As the sweep submits it, without defaults.
    """
    if spec.resources.device == Resources.cuda:
        return NO_CELL
    # What a plug-in reads may be others by now.
    if any(use.kind.number == PluginDeclaration.DATASET for use in plugin_uses(spec)):
        return NO_CELL
    if not _is_pinned(spec):
        return NO_CELL
    deciding = _deciding(spec)
    digest = _digest(deciding)
    # No job has a length of 0, so that no digest is mistaken for a lineage.
    if spec.training.HasField("steps"):
        length = spec.training.steps
        deciding.training.steps = 0
    else:
        length = spec.training.epochs if spec.training.HasField("epochs") else _default_epochs()
        deciding.training.epochs = 0
    return Cell(digest, _digest(deciding), length)


@cache
def _default_epochs() -> int:
    return fill_message(Training()).epochs


def _deciding(spec: JobSpec) -> JobSpec:
    deciding = JobSpec()
    deciding.CopyFrom(spec)
    for name in _NAMES:
        deciding.ClearField(name)  # type: ignore[arg-type]
    deciding.resources.ClearField("time_limit_seconds")
    return deciding


def _digest(deciding: JobSpec) -> bytes:
    body = deciding.SerializeToString(deterministic=True)
    # Another version may fill a spec otherwise.
    return hashlib.sha256(_version() + b"\0" + body).digest()


def _is_pinned(spec: JobSpec) -> bool:
    """Return whether a spec names one version of what it reads, now and later."""
    if spec.dataset.HasField("uri"):
        return False
    data = spec.dataset.stored
    is_one_version = not data.name or bool(data.digest) or "@" in data.name
    return is_one_version and (not spec.weights.stored or "@" in spec.weights.stored)


@cache
def _version() -> bytes:
    return version("talweg").encode()


def finished(connection: Connection, digests: Sequence[bytes]) -> Mapping[bytes, JobRow]:
    """Return the jobs that can be taken over, by digest.

    Args:
        connection: To read by.
        digests: Of jobs that are due.
    """
    known = trials.finished(connection, digests)
    if not known:
        return {}
    here = _environment(connection)
    if here is None:
        return {}
    return {
        digest: job
        for digest, of_digest in known.items()
        for job in of_digest
        if _is_of(job, here)
    }


def sources(connection: Connection, cells: Sequence[Cell]) -> Mapping[Cell, Source]:
    """Return the jobs that longer ones may go on from.

    Args:
        connection: To read by.
        cells: Of jobs that are due.

    Returns:
        By cell, the longest job that it goes on from; where there is none, the longest shorter
        one, with why it does not.
    """
    known = trials.relatives(connection, [each.lineage for each in cells])
    here = _environment(connection) if known else None
    if here is None:
        return {}
    found = {}
    for cell in cells:
        shorter = [
            job
            for job in known.get(cell.lineage, ())
            if length_of(job.job_spec)[1] < cell.length and _is_of(job, here)
        ]
        shorter.sort(key=lambda job: length_of(job.job_spec)[1])
        possible = [_source(connection, job, cell.length) for job in reversed(shorter)]
        going_on = next((each for each in possible if not each.why), None)
        if possible:
            found[cell] = going_on or possible[0]
    return found


def _source(connection: Connection, job: JobRow, length: int) -> Source:
    longer = JobSpec()
    longer.CopyFrom(job.job_spec)
    setattr(longer.training, length_of(longer)[0], length)
    why = why_no_prefix(job.job_spec, longer) or why_no_end(connection, job)
    return Source(job, None if why else last_checkpoint(job), why)


def _environment(connection: Connection) -> Environment | None:
    """Return what every worker has in common that may take the jobs; None where they differ."""
    workers = [each for each in told(connection) if DEFAULT_QUEUE in each.queues]
    found = [each.environment for each in workers]
    if not found or found[0] is None:
        return None
    first = found[0]
    if not all(each is not None and _alike(each, first) for each in found):
        return None
    here = Environment()
    here.CopyFrom(first)
    here.plugins.update(_plugins(workers))
    return here


def _plugins(workers: Sequence[Told]) -> dict[str, str]:
    """Return the digests of the plug-ins that all workers have alike, by key."""
    of_workers = [
        {
            plugin_key(kind, each.name): each.digest
            for kind in KINDS
            for each in worker.plugins
            if each.kind == kind.number and each.digest
        }
        for worker in workers
    ]
    common = set.intersection(*(set(each.items()) for each in of_workers))
    return dict(common)


def _is_of(job: JobRow, here: Environment) -> bool:
    """Return whether a job ran with what the workers have now, plug-ins included."""
    there = Outcome.FromString(job.outcome or b"").environment
    used = [plugin_key(use.kind, use.message.name) for use in plugin_uses(job.job_spec)]
    return _alike(there, here) and all(
        key in there.plugins and there.plugins[key] == here.plugins.get(key) for key in used
    )


def _alike(one: Environment, other: Environment) -> bool:
    return one.device == "cpu" and all(
        getattr(one, name) == getattr(other, name) for name in _MATTERS
    )
