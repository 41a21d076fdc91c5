"""Where a job's files and its data lie in the blob store, known to whatever runs for the job.

What reads data, weights and models stands deep in the training, and knows a spec alone, which says
nothing of projects. So, as for settings, the process says it once: the attempt for its job, and
those that train beside it or in the sandbox from what they were handed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from talweg.blobs import Blobs, job_blobs
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.v1.workers_pb2 import Assignment


@dataclass(frozen=True)
class JobStore:
    """What of the blob store is for a job."""

    project: str = DEFAULT_PROJECT
    """The job's."""
    root_digests: tuple[str, ...] = ()
    """Of data sets that it reads whose content is of before projects had prefixes."""

    @classmethod
    def of(cls, assignment: Assignment) -> "JobStore":
        """Return that of an assignment; an earlier server names no project."""
        return cls(assignment.project or DEFAULT_PROJECT, tuple(assignment.root_digests))

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "JobStore":
        """Return what `to_json` has written."""
        return cls(facts["project"], tuple(facts["root_digests"]))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, for another process."""
        return {"project": self.project, "root_digests": list(self.root_digests)}

    def open(self, url: str) -> Blobs:
        """Return the store as the job sees it.

        Args:
            url: Of the whole store.

        Raises:
            OSError: It cannot be used.
            ValueError: As OSError.
            ImportError: As OSError.
        """
        return job_blobs(url, self.project, root_digests=self.root_digests)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have what this thread runs read for the job."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[JobStore] = ContextVar("job_store")
_OF_DEFAULT = JobStore()


def current() -> JobStore:
    """Return that of the job which this thread runs; of `default` where nobody has said."""
    return _current.get(_OF_DEFAULT)
