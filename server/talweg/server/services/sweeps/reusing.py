"""Jobs that are taken over from earlier sweeps instead of being trained again.

A job is a pure function of its spec, the versions and the CPU. So what stands in the record under
the same digest, computed by the same versions on the same kind of CPU, is its result.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version

from sqlalchemy import Connection

from talweg.server.services.plugins import told
from talweg.server.store.record.rows import JobRow
from talweg.server.store.sweeps import trials
from talweg.spec.broker import DEFAULT_QUEUE
from talweg.spec.plugins import plugin_uses
from talweg.v1.jobs_pb2 import Environment, Outcome
from talweg.v1.spec_pb2 import JobSpec, Resources

# They cannot change what comes of a job.
_NAMES = ("display_name", "experiment", "tags", "priority")
_MATTERS = ("talweg", "torch", "python", "device", "cpu_capability")


def digest_of(spec: JobSpec) -> bytes:
    """Return a digest that equal jobs have in common; empty for one that always trains anew.

    Args:
        spec: As the sweep submits it, without defaults.
    """
    if spec.resources.device == Resources.cuda or any(plugin_uses(spec)):
        return b""
    if not _is_pinned(spec):
        return b""
    deciding = JobSpec()
    deciding.CopyFrom(spec)
    for name in _NAMES:
        deciding.ClearField(name)  # type: ignore[arg-type]
    deciding.resources.ClearField("time_limit_seconds")
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
        if _alike(Outcome.FromString(job.outcome or b"").environment, here)
    }


def _environment(connection: Connection) -> Environment | None:
    """Return what every worker has in common that may take the jobs; None where they differ."""
    found = [each.environment for each in told(connection) if DEFAULT_QUEUE in each.queues]
    if not found or found[0] is None:
        return None
    first = found[0]
    return first if all(each is not None and _alike(each, first) for each in found) else None


def _alike(one: Environment, other: Environment) -> bool:
    return one.device == "cpu" and all(
        getattr(one, name) == getattr(other, name) for name in _MATTERS
    )
