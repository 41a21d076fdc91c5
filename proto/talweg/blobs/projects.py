"""Each project's part of the blob store: the one place that knows where it lies.

    jobs/ID/…, datasets/DIGEST/…               of the project `default`
    projects/P/jobs/ID/…, projects/P/datasets/DIGEST/…    of any other

So whoever runs the store can bound a project by its prefix: by a bucket's policy, a quota, or by
removing it. `default` has no prefix, since there lies what was stored before there were projects,
which all belongs to it.

Projects are older than their prefixes, and what they had stored by then lies at the root too. It
is neither moved, since workers may be reading it and a bucket can only copy, nor noted for jobs:

- A job's files lie where its folder is, and at the root if that alone is there. Ids of jobs are
  unique over all projects, so a folder at the root is this job's or nobody's. Workers of before,
  which go on while the server is new already, are found likewise.
- Of a data set that would not do: its folder is named by its content, and whether another project
  has the same must not be told. There the record says which lie at the root (`stored_in` of a data
  set), and the server names them to the worker with the job.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress

from talweg.blobs.store import Blobs
from talweg.spec import is_job_id, job_id, job_name
from talweg.spec.identity.projects import DEFAULT_PROJECT, PROJECT_RULE, is_project

_PROJECTS, _JOBS, _DATASETS = "projects", "jobs", "datasets"


def project_blobs(url: str, project: str) -> Blobs:
    """Return a project's part of the store, and nothing of what lies at the root for others.

    Args:
        url: Of the whole store, as `Blobs` takes it.
        project: Whose.

    Raises:
        ValueError: That is no project's name, or fsspec does not know the protocol.
        ImportError: The protocol's package is not installed.
    """
    return Blobs(url, below=_prefix_of(project))


def job_blobs(url: str, project: str, *, root_digests: Collection[str] = ()) -> Blobs:
    """Return the store as a project's jobs see it: with what it has at the root since before.

    Args:
        url: Of the whole store, as `Blobs` takes it.
        project: The jobs'.
        root_digests: Of data sets of the project whose content lies at the root.

    Raises:
        ValueError: That is no project's name, or fsspec does not know the protocol.
        ImportError: The protocol's package is not installed.
    """
    if project == DEFAULT_PROJECT:
        return Blobs(url)
    return _WithRoot(url, project, root_digests)


def remove_job(url: str, project: str, job: str) -> None:
    """Remove all that a job has left, wherever it lies.

    Args:
        url: Of the whole store.
        project: The job's.
        job: `jobs/ID`.

    Raises:
        ValueError: That is no job's name, or one of `Blobs`.
        ImportError: The protocol's package is not installed.
        OSError: Something cannot be removed.
    """
    folder = job_name(job_id(job))
    project_blobs(url, project).remove_folder(folder)
    if project != DEFAULT_PROJECT:
        # Of somebody whom a policy shows the project's prefix alone.
        with suppress(PermissionError):
            Blobs(url).remove_folder(folder)


def job_folders(url: str) -> Iterator[tuple[str, str]]:
    """Yield project and id of each folder of a job; at the root, `default` is its project.

    Args:
        url: Of the whole store.

    Raises:
        ValueError: Fsspec does not know the protocol.
        ImportError: The protocol's package is not installed.
        OSError: The store cannot be listed.
    """
    others = sorted(name for name in Blobs(url).names(_PROJECTS) if is_project(name))
    for project in (DEFAULT_PROJECT, *(each for each in others if each != DEFAULT_PROJECT)):
        names = project_blobs(url, project).names(_JOBS)
        yield from ((project, name) for name in names if is_job_id(name))


def _prefix_of(project: str) -> str:
    if not is_project(project):
        raise ValueError(f"a project {PROJECT_RULE}, but got {project[:100]!a}")
    return "" if project == DEFAULT_PROJECT else f"{_PROJECTS}/{project}"


class _WithRoot(Blobs):
    """A project's part of the store, and what it has at the root."""

    def __init__(self, url: str, project: str, root_digests: Collection[str]) -> None:
        super().__init__(url, below=_prefix_of(project))
        self._at_root = Blobs(url)
        self._root_digests = frozenset(root_digests)
        # Of jobs whose folder was there when it was first asked for.
        self._is_job_at_root: dict[str, bool] = {}

    def _at(self, path: str) -> str:
        own = super()._at(path)
        kind, _, rest = path.partition("/")
        name = rest.partition("/")[0]
        if kind == _DATASETS and name in self._root_digests:
            return self._at_root._at(path)
        if kind == _JOBS and name and self._is_at_root(name):
            return self._at_root._at(path)
        return own

    def _is_at_root(self, id_: str) -> bool:
        """Return whether a job's folder is at the root, and not in the project's part."""
        if id_ not in self._is_job_at_root:
            folder = f"{_JOBS}/{id_}"
            is_own = self._is_there(super()._at(folder))
            if not is_own and not self._is_there_at_root(folder):
                # Nothing is there yet: who writes first decides.
                return False
            self._is_job_at_root[id_] = not is_own
        return self._is_job_at_root[id_]

    def _is_there_at_root(self, folder: str) -> bool:
        try:
            return self._at_root._is_there(self._at_root._at(folder))
        except PermissionError:
            # Of somebody whom a policy shows the project's prefix alone.
            return False
