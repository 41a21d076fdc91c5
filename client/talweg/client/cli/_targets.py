"""What a command line names: jobs and sweeps."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from talweg.client import Client, InvalidRequest, Job, NotFound, Sweep
from talweg.client.cli._common import job_json, quoted

Target = Job | Sweep
"""What `watch`, `show`, `cancel` and others work on."""
T = TypeVar("T", Job, Sweep, Target)

_JOBS, _SWEEPS = "jobs/", "sweeps/"
# At most this many with a common prefix are listed.
_MAX_NAMED = 5
# A prefix is looked for among so many of the newest sweeps.
_NUM_SEARCHED = 100


def find_target(client: Client, text: str) -> Target:
    """Find a job or a sweep by its name, its id, or a prefix of its id.

    Raises:
        NotFound: Nothing matches.
        InvalidRequest: A prefix is ambiguous.
    """
    if text.startswith(_SWEEPS):
        return find_sweep(client, text)
    if text.startswith(_JOBS):
        return _find_job(client, text)
    try:
        return client.job(text)
    except NotFound:
        # An id does not tell what it is of.
        pass
    try:
        return client.get_sweep(text)
    except NotFound as error:
        matching: list[Target] = [
            *_jobs_that_begin(client, text),
            *_sweeps_that_begin(client, text),
        ]
        both = "`talweg jobs` and `talweg sweeps` list all"
        return _only(matching, text, error, what="job or sweep", listed_by=both)


def find_jobs(client: Client, texts: Iterable[str]) -> list[Job]:
    """Find jobs by name, by id, or by a prefix of an id.

    Raises:
        NotFound: No job matches.
        InvalidRequest: A prefix is ambiguous.
    """
    return [_find_job(client, text) for text in texts]


def _find_job(client: Client, text: str) -> Job:
    try:
        return client.job(text)
    except NotFound as error:
        matching = _jobs_that_begin(client, text.removeprefix(_JOBS))
        listed_by = "`talweg jobs` lists all jobs"
        return _only(matching, text, error, what="job", listed_by=listed_by)


def find_sweep(client: Client, text: str) -> Sweep:
    """Find a sweep by its name, its id, or a prefix of its id.

    Raises:
        NotFound: No sweep matches.
        InvalidRequest: A prefix is ambiguous.
    """
    try:
        return client.get_sweep(text)
    except NotFound as error:
        matching = _sweeps_that_begin(client, text.removeprefix(_SWEEPS))
        listed_by = "`talweg sweeps` lists all sweeps"
        return _only(matching, text, error, what="sweep", listed_by=listed_by)


def target_json(target: Target) -> dict[str, Any]:
    """Return a job or a sweep in JSON form."""
    from talweg.spec import to_dict

    if isinstance(target, Job):
        return job_json(target)
    return {"id": target.id, **to_dict(target.message)}


def _jobs_that_begin(client: Client, text: str) -> list[Job]:
    condition = f"name = {quoted(f'{_JOBS}{text}*')}"
    return list(client.jobs(filter=condition, limit=_MAX_NAMED + 1))


def _sweeps_that_begin(client: Client, text: str) -> list[Sweep]:
    return [each for each in client.sweeps(limit=_NUM_SEARCHED) if each.id.startswith(text)]


def _only(matching: Sequence[T], text: str, error: NotFound, *, what: str, listed_by: str) -> T:
    """Return what alone has a prefix, where nothing has the id itself.

    Raises:
        NotFound: Nothing has it.
        InvalidRequest: Several have it.
    """
    if not matching:
        raise NotFound(
            f"no {what} has the id or id prefix {text!r}; {listed_by}", reason=error.reason
        ) from error
    if len(matching) == 1:
        return matching[0]
    kinds = dict.fromkeys(each.name.partition("/")[0] for each in matching)
    named = matching[:_MAX_NAMED]
    some = ", ".join(each.id if len(kinds) == 1 else each.name for each in named)
    many = str(len(matching))
    if len(matching) > _MAX_NAMED:
        many, some = f"more than {_MAX_NAMED}", f"{some}, …"
    raise InvalidRequest(
        f"{text!r} is a prefix of {many} {' and '.join(kinds)}: {some}. Use a longer one."
    ) from error
