"""Code shared by the commands: the session, job arguments, output."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from talweg.client import Client, Job, JobState, Unavailable
from talweg.client._lines import duration
from talweg.spec import drop_control
from talweg.spec.times import seconds_in

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

WARNING_STYLE = "dark_orange3"
# Colours of the 256 that can be read on a dark and on a light background.
STATE_STYLES = {
    JobState.QUEUED: "dark_orange3",
    JobState.RUNNING: "dodger_blue1",
    JobState.PAUSED: "dark_orange3",
    JobState.SUCCEEDED: "green4",
    JobState.FAILED: "red3",
    JobState.DIVERGED: "medium_orchid3",
    JobState.CANCELLED: "grey50",
}
_PLAIN_WIDTH = 200
_NO_ADDRESS = "NO_ADDRESS"


def confirm(question: str) -> None:
    """Ask before something is lost; end the command where the answer is no.

    Raises:
        UsageError: There is nobody to answer.
    """
    try:
        click.confirm(f"{question} This cannot be undone", abort=True, err=True)
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            click.echo(err=True)
            raise click.UsageError("nobody answered, and nothing was done: add --yes") from error
        raise


@dataclass(frozen=True)
class Session:
    """The options before the command."""

    address: str | None
    """HOST:PORT; None if the client looks for it."""

    project: str | None = None
    """The project to act in; None for the token's own."""

    def client(self) -> Client:
        """Open a client."""
        return Client(self.address, project=self.project)


def age(context: click.Context, parameter: click.Parameter, value: str | None) -> timedelta | None:
    """Read the length of a time: ``30d``, ``12h`` or ``4w``. A callback of options."""
    if value is None:
        return None
    seconds = seconds_in(value)
    if seconds is None:
        raise click.BadParameter(
            f"a time must look like 30d, 12h or 4w, but got {value!r}", context, parameter
        )
    return timedelta(seconds=seconds)


def json_option(command: F) -> F:
    """Add ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print only JSON to standard output."
    )(command)


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Print a text for people, without control characters that a terminal would interpret.

    Args:
        text: The text, from any source.
        err: Print to standard error instead of standard output.
        end: Printed after the text.
    """
    click.echo(drop_control(text) + end, err=err, nl=False)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON to standard output, its control characters escaped.

    Args:
        value: A JSON value.
        indent: The indentation of each level; None for a single line.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # JSON escapes those below U+0020 alone.
    click.echo(re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", text))


def quoted(text: str) -> str:
    """Quote a text as a value in a filter."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def console(*, stderr: bool = False) -> "Console":
    """Return a console on standard output or standard error."""
    from talweg.client.cli._terminal import PlainTextConsole

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PLAIN_WIDTH
    return PlainTextConsole(stderr=stderr, highlight=False, width=width, soft_wrap=False)


def note(text: str) -> None:
    """Print a remark to standard error."""
    say(text, err=True)


def ask_or_know(session: Session, ask: Callable[[Client], T], local: Callable[[], T]) -> T:
    """Ask the server, which may know more; without one, use what the client knows."""
    try:
        with session.client() as client:
            return ask(client)
    except Unavailable as error:
        if error.reason != _NO_ADDRESS:
            raise
        note("no server is known; the client answers by itself")
        return local()


def job_json(job: Job) -> dict[str, Any]:
    """Return a job in JSON form."""
    from talweg.spec import to_dict

    return {"id": job.id, **to_dict(job.message)}


def runs_url(client: Client, jobs: Sequence[Job], *, metric: str | None = None) -> str:
    """Return the page of a job's run in MLflow, or of the comparison of several; empty if none.

    Args:
        client: Tells whether the jobs are all of their experiment.
        jobs: The jobs.
        metric: By which the runs are ordered; by the main metric if None.
    """
    from talweg.client import compare_url

    arrived = [job for job in jobs if job.message.tracking.url]
    if len(jobs) == 1 and arrived:
        return arrived[0].message.tracking.url
    if len(arrived) < 2:
        return ""
    experiments = {job.message.spec.experiment for job in jobs}
    whole = False
    if len(experiments) == 1 and metric is None:
        condition = f"experiment = {quoted(experiments.pop())}"
        whole = len(list(client.jobs(filter=condition, limit=len(jobs) + 1))) == len(jobs)
    return compare_url(arrived, metric=metric, whole_experiment=whole) or ""


def state_text(state: JobState) -> str:
    """Return a state in its colour, as rich markup."""
    return f"[{STATE_STYLES[state]}]{state}[/]"


def style_of(state: str) -> str:
    """Return the style of the state of a job, a sweep or a trial, by its name."""
    return STATE_STYLES[JobState(state) if state in JobState.__members__ else JobState.CANCELLED]


def moment(timestamp: "Timestamp") -> datetime:
    """Convert a timestamp."""
    return timestamp.ToDatetime(tzinfo=UTC)


def ago(timestamp: "Timestamp") -> str:
    """Format the time since a timestamp, such as ``5 min ago``."""
    return f"{duration(datetime.now(UTC) - moment(timestamp))} ago"
