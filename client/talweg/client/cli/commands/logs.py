"""`talweg logs`."""

from collections.abc import Iterable

import click

from talweg.client import Job, JobState
from talweg.client.cli._common import (
    STATE_STYLES,
    WARNING_STYLE,
    Session,
    console,
    json_option,
    moment,
    print_json,
)
from talweg.client.cli._targets import find_jobs
from talweg.client.cli.completions import complete_jobs
from talweg.spec import drop_control
from talweg.v1 import jobs_pb2

_LEVELS = {jobs_pb2.LogLine.WARNING: "warning: ", jobs_pb2.LogLine.ERROR: "error: "}


@click.command()
@click.argument("job", shell_complete=complete_jobs)
@click.option("-f", "--follow", is_flag=True, help="Print new lines until the job has ended.")
@click.option("-n", "--tail", type=click.IntRange(min=0), help="Begin with the last lines.")
@json_option
@click.pass_obj
def logs(session: Session, job: str, follow: bool, tail: int | None, as_json: bool) -> None:
    """Print the log of a job: its states, lines of its workers, warnings, and how it ended.

    --json prints one line per event.
    """
    with session.client() as client:
        (logged,) = find_jobs(client, [job])
        events = list(logged.logs())
        shown = events if tail is None else events[len(events) - min(tail, len(events)) :]
        _print(shown, as_json)
        if follow:
            last = events[-1].cursor if events else 0
            try:
                _print(_new(logged, last), as_json)
            except KeyboardInterrupt:
                return


def _new(job: Job, after: int) -> Iterable[jobs_pb2.Event]:
    hidden = ("progress", "metrics")
    return (event for event in job.watch(after=after) if event.WhichOneof("kind") not in hidden)


def _print(events: Iterable[jobs_pb2.Event], as_json: bool) -> None:
    from talweg.spec import to_dict

    out = console()
    for event in events:
        if as_json:
            print_json(to_dict(event), indent=None)
            continue
        text, style = _text(event)
        at = moment(event.time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        out.print(
            f"{at}  {drop_control(text)}",
            style=style,
            markup=False,
            # Lines are for grep too: a terminal breaks long ones by itself.
            soft_wrap=True,
        )


def _text(event: jobs_pb2.Event) -> tuple[str, str]:
    """Return an event in words, and the style of its line."""
    match event.WhichOneof("kind"):
        case "state":
            reason = f": {event.state.reason}" if event.state.reason else ""
            return f"{JobState.of(event.state.state)}{reason}", ""
        case "finished":
            state = JobState.of(event.finished.state)
            message = f": {event.finished.message}" if event.finished.message else ""
            return f"{state}{message}", STATE_STYLES[state]
        case "warning":
            return f"warning: {event.warning.message}", WARNING_STYLE
        case "guard":
            guard = event.guard
            action = jobs_pb2.GuardDecision.Action.Name(guard.action).lower().replace("_", " ")
            why = f"{guard.seen.what} was {guard.seen.value}"
            return f"guard: {action} at step {guard.seen.step}: {why}", WARNING_STYLE
        case _:
            level = _LEVELS.get(event.log.level, "")
            return f"{level}{event.log.text}", WARNING_STYLE if level else ""
