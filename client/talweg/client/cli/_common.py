"""What the commands share: the session, job arguments, output."""

import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from talweg.client import Client, InvalidRequest, Job, JobState, NotFound, Unavailable
from talweg.spec import drop_control

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

STATE_STYLES = {
    JobState.QUEUED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.PAUSED: "yellow",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.DIVERGED: "magenta",
    JobState.CANCELLED: "bright_black",
}
# So many jobs with one beginning are named.
_MAX_NAMED = 5
_PLAIN_WIDTH = 200
_NO_ADDRESS = "NO_ADDRESS"


@dataclass(frozen=True)
class Session:
    """What the options before the command say."""

    address: str | None
    """HOST:PORT; None where the client is to find it."""

    def client(self) -> Client:
        """Open a client."""
        return Client(self.address)


def json_option(command: F) -> F:
    """Add ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, and nothing else, to standard output."
    )(command)


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Print a text for people, without control characters that a terminal would obey.

    Args:
        text: May come from anywhere.
        err: To standard error, not to standard output.
        end: What to print behind it.
    """
    click.echo(drop_control(text) + end, err=err, nl=False)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON to standard output, its control characters escaped.

    Args:
        value: JSON values.
        indent: How far each level is indented; None for one line.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # JSON escapes those below U+0020 alone.
    click.echo(re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", text))


def quoted(text: str) -> str:
    """Write a text as a filter's value."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def console(*, stderr: bool = False) -> "Console":
    """Give a console on standard output or error."""
    from talweg.client.cli._terminal import PlainTextConsole

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PLAIN_WIDTH
    return PlainTextConsole(stderr=stderr, highlight=False, width=width, soft_wrap=False)


def note(text: str) -> None:
    """Tell people something, apart from the output."""
    say(text, err=True)


def ask_or_know(session: Session, ask: Callable[[Client], T], local: Callable[[], T]) -> T:
    """Ask the server, which may know more; where none is known, give what this client knows."""
    try:
        with session.client() as client:
            return ask(client)
    except Unavailable as error:
        if error.reason != _NO_ADDRESS:
            raise
        note("no server is known: this is what the client itself knows")
        return local()


def job_json(job: Job) -> dict[str, Any]:
    """Give all about a job in JSON form."""
    from talweg.spec import to_dict

    return {"id": job.id, **to_dict(job.message)}


def find_jobs(client: Client, texts: Iterable[str]) -> list[Job]:
    """Find the jobs that arguments name: by id, by ``jobs/ID``, or by the beginning of an id.

    Raises:
        NotFound: Where there is none.
        InvalidRequest: Where a beginning fits several.
    """
    return [_find_job(client, text) for text in texts]


def _find_job(client: Client, text: str) -> Job:
    try:
        return client.job(text)
    except NotFound as error:
        beginning = text.removeprefix("jobs/")
        condition = f"name = {quoted(f'jobs/{beginning}*')}"
        found = list(client.jobs(filter=condition, limit=_MAX_NAMED + 1))
        if len(found) == 1:
            return found[0]
        if not found:
            raise NotFound(
                f"there is no job {text!r}, nor one whose id begins so; `talweg jobs` lists them",
                reason=error.reason,
            ) from error
        some = ", ".join(job.id for job in found[:_MAX_NAMED])
        many = str(len(found))
        if len(found) > _MAX_NAMED:
            many, some = f"more than {_MAX_NAMED}", f"{some}, …"
        raise InvalidRequest(
            f"{text!r} is the beginning of {many} jobs: {some}. Write more of it."
        ) from error


def state_text(state: JobState) -> str:
    """Give a state in its colour, as rich markup."""
    return f"[{STATE_STYLES[state]}]{state}[/]"


def moment(timestamp: "Timestamp") -> datetime:
    """Give a message's time."""
    return timestamp.ToDatetime(tzinfo=UTC)


def ago(timestamp: "Timestamp") -> str:
    """Tell how long ago a time was, such as ``5 min ago``."""
    return f"{duration(datetime.now(UTC) - moment(timestamp))} ago"


def duration(value: timedelta) -> str:
    """Write a duration with two digits or so: ``0.8 s``, ``42 s``, ``5 min``, ``3.2 h``."""
    seconds = max(0.0, value.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def number(value: float) -> str:
    """Write a metric's value for people, with five digits."""
    return f"{value:#.5g}".rstrip(".")
