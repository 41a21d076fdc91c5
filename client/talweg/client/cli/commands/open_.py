"""`talweg open`."""

from collections.abc import Sequence

import click

from talweg.client import Job, NotFound, Sweep
from talweg.client._address import local_stack
from talweg.client._links import sweep_url
from talweg.client.cli._common import Session, note, runs_url, say
from talweg.client.cli._pages import browse, opening
from talweg.client.cli._selection import select_targets, targets_or_filter


@click.command("open")
@targets_or_filter
@click.option("--print", "only_print", is_flag=True, help="Print the address alone.")
@click.pass_obj
def open_(
    session: Session,
    targets: Sequence[str],
    filter: str,
    states: Sequence[str],
    experiment: str | None,
    only_print: bool,
) -> None:
    """Open jobs in MLflow: the page of one, or the comparison of several; of a sweep all its jobs.

    With no job it opens the first page of the MLflow of a stack on this machine. The address that
    it prints opens that MLflow in any browser within a day; keep it to yourself.
    """
    with session.client() as client:
        stack = local_stack(client.address)
        is_selected = any((targets, filter, states, experiment))
        if not is_selected and stack is not None and stack.pages:
            _show(stack.pages, only_print=only_print)
            return
        chosen = select_targets(
            client, targets, filter=filter, states=states, experiment=experiment
        )
        if len(chosen) == 1 and isinstance(chosen[0], Sweep) and (page := sweep_url(chosen[0])):
            _show(page, only_print=only_print)
            return
        selected = [
            job
            for target in chosen
            for job in ([target] if isinstance(target, Job) else target.jobs())
        ]
        arrived = [job for job in selected if job.message.tracking.url]
        if not arrived:
            raise NotFound(
                "no run of these jobs is in MLflow yet: it comes when training has begun"
            )
        if len(arrived) < len(selected):
            note(f"{len(arrived)} of {len(selected)} runs are in MLflow so far")
        url = runs_url(client, arrived)
    if not url:
        raise click.ClickException(
            f"MLflow has no page that compares {len(arrived)} runs of several experiments: "
            "select at most 100, or one experiment"
        )
    _show(url, only_print=only_print)


def _show(url: str, *, only_print: bool) -> None:
    say(opening(url))
    if not only_print and not browse(url):
        note("no browser could be opened: open the address above")
