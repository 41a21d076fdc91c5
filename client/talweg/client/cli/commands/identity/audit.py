"""`talweg audit`."""

from datetime import UTC, datetime, timedelta

import click

from talweg.client.cli._common import Session, age, console, json_option, moment, note, print_json


@click.command()
@click.option(
    "--since", callback=age, metavar="TIME", help="Of the last so much time, such as 7d."
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
@json_option
@click.pass_obj
def audit(session: Session, since: timedelta | None, limit: int, as_json: bool) -> None:
    """List who changed what, when and from where, the newest first. It takes an admin."""
    from talweg.spec import to_dict

    begin = None if since is None else datetime.now(UTC) - since
    with session.client() as client:
        entries = list(client.audit(since=begin, limit=limit))
    if as_json:
        print_json([to_dict(entry) for entry in entries])
        return
    if not entries:
        note("nothing was changed")
        return
    from rich.text import Text

    from talweg.client.cli.tables import Column, fitted

    rows = [
        (
            Text(f"{moment(entry.time):%Y-%m-%d %H:%M:%S}"),
            Text(entry.description or entry.token or "-"),
            Text(entry.project),
            Text(entry.method.rpartition("/")[2]),
            Text(entry.resource),
            Text(entry.status),
            Text(entry.peer.partition(":")[2] or entry.peer),
        )
        for entry in entries
    ]
    names = ("TIME (UTC)", "WHO", "PROJECT", "CALL", "WHAT", "STATUS", "FROM")
    out = console()
    out.print(fitted([Column(name) for name in names], rows, out.width))
