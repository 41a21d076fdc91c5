"""`talweg sessions`."""

import click

from talweg.client.cli._common import Session, ago, console, json_option, note, print_json


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@json_option
@click.pass_obj
def sessions(session: Session, limit: int, as_json: bool) -> None:
    """List sessions, the newest first: comparisons that share one error budget."""
    from talweg.spec import to_dict

    with session.client() as client:
        listed = list(client.sessions(limit=limit))
    if as_json:
        print_json([to_dict(each.message) for each in listed])
        return
    if not listed:
        note("no sessions; one begins with the first job or sweep that has `session: NAME`")
        return
    from rich.text import Text

    from talweg.client.cli.tables import Column, fitted

    out = console()
    rows = [
        (
            Text(each.id),
            Text(each.state),
            Text(str(each.message.num_answers)),
            Text(f"{each.message.spent:.3g}"),
            Text(f"{each.message.left:.3g}"),
            Text(ago(each.message.create_time)),
        )
        for each in listed
    ]
    columns = (
        Column("NAME"),
        Column("STATE"),
        Column("ANSWERS", right=True),
        Column("SPENT", right=True),
        Column("LEFT", right=True),
        Column("CREATED"),
    )
    out.print(fitted(columns, rows, out.width))
