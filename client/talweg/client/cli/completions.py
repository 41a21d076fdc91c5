"""Shell completion: which values fit what is typed so far.

A shell calls this on each press of the tab key, so every function is quick and never fails:
without a server there is nothing to suggest, or what the client knows by itself.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from talweg.client import Client

# The shell waits for the answer.
_TIMEOUT: Final = timedelta(seconds=2)
_MAX_JOBS: Final = 50
# From this many jobs, experiments are gathered.
_MAX_LISTED: Final = 200

COMPLETE_VARIABLE: Final = "_TALWEG_COMPLETE"
"""The variable by which a shell asks for completions."""

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_jobs(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Suggest ids of jobs, the newest first, with their state and name."""
    return _asked(context, lambda client: _jobs(client, _named(context, parameter), incomplete))


def complete_sweeps(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Suggest ids of sweeps, the newest first, with their state and name."""
    return _asked(context, lambda client: _sweeps(client, _named(context, parameter), incomplete))


def complete_targets(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Suggest ids of sweeps and jobs."""
    named = _named(context, parameter)

    def ask(client: "Client") -> Iterator[CompletionItem]:
        if not incomplete.startswith("jobs/"):
            yield from _sweeps(client, named, incomplete)
        if not incomplete.startswith("sweeps/"):
            yield from _jobs(client, named, incomplete)

    return _asked(context, ask)


def complete_experiments(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Suggest the experiments of the newest jobs."""

    def ask(client: "Client") -> Iterator[CompletionItem]:
        listed = client.jobs(limit=_MAX_LISTED)
        for experiment in dict.fromkeys(job.message.spec.experiment for job in listed):
            if experiment.startswith(incomplete):
                yield CompletionItem(experiment)

    return _asked(context, ask)


def complete_metrics(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Suggest metrics of the job that the command line names before."""
    from talweg.client._lines import number
    from talweg.client.cli._targets import find_jobs

    def ask(client: "Client") -> Iterator[CompletionItem]:
        (job,) = find_jobs(client, [context.params["job"]])
        for name, summary in sorted(job.metrics().summaries.items()):
            if name.startswith(incomplete):
                yield CompletionItem(name, help=f"last {number(summary.last)}")

    return _asked(context, ask)


def complete_entries(kind: str) -> Complete:
    """Return the completion of names in the server's catalogue, or the client's without a server.

    Args:
        kind: Such as "tasks"; a method of the client and a function of `talweg.spec`.
    """

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from talweg import spec

        def items(entries: Iterable[Any]) -> Iterator[CompletionItem]:
            for entry in entries:
                if entry.name.startswith(incomplete):
                    # Data sets are described, the others say when to choose them.
                    when = getattr(entry.facts, "when", "") or entry.description
                    yield CompletionItem(entry.name, help=when)

        known = _asked(context, lambda client: items(getattr(client, kind)()))
        return known or list(items(getattr(spec, kind)()))

    return complete


def _named(context: click.Context, parameter: click.Parameter) -> set[str]:
    """Return what the command line names before."""
    return set(context.params.get(parameter.name or "") or ())


def _jobs(client: "Client", named: set[str], incomplete: str) -> Iterator[CompletionItem]:
    from talweg.client.cli._common import quoted
    from talweg.spec import display_name, drop_control

    typed = incomplete.removeprefix("jobs/")
    prefix = incomplete[: len(incomplete) - len(typed)]
    condition = f"name = {quoted(f'jobs/{typed}*')}" if typed else ""
    for job in client.jobs(filter=condition, limit=_MAX_JOBS):
        if not named & {job.id, job.name}:
            text = f"{job.state}  {display_name(job.message.spec)}"
            yield CompletionItem(prefix + job.id, help=drop_control(text))


def _sweeps(client: "Client", named: set[str], incomplete: str) -> Iterator[CompletionItem]:
    from talweg.spec import drop_control
    from talweg.spec.sweeps import sweep_title

    typed = incomplete.removeprefix("sweeps/")
    prefix = incomplete[: len(incomplete) - len(typed)]
    for sweep in client.sweeps(limit=_MAX_JOBS):
        if sweep.id.startswith(typed) and not named & {sweep.id, sweep.name}:
            text = f"{sweep.state}  {sweep_title(sweep.message.spec)}"
            yield CompletionItem(prefix + sweep.id, help=drop_control(text))


def _asked(
    context: click.Context, ask: Callable[["Client"], Iterable[CompletionItem]]
) -> list[CompletionItem]:
    """Ask the server that the command line names; nothing where it does not answer."""
    from talweg.client import Client

    try:
        with Client(context.find_root().params.get("address"), timeout=_TIMEOUT) as client:
            return list(ask(client))
    except Exception:
        # A message here would be printed into the line that the user is typing.
        return []
