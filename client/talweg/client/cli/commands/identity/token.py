"""`talweg token`."""

from datetime import UTC, datetime, timedelta

import click

from talweg.client.cli._common import (
    Session,
    age,
    console,
    json_option,
    moment,
    note,
    print_json,
    say,
)


@click.group()
def token() -> None:
    """Create, list and revoke tokens. It takes an admin."""


@token.command()
@click.option(
    "--role",
    required=True,
    type=click.Choice(["viewer", "submitter", "admin", "worker"]),
    help="What its holder may do.",
)
@click.option(
    "--project", default="default", show_default=True, help="The project; '*' stands for all."
)
@click.option(
    "--expires",
    callback=age,
    metavar="TIME",
    help="How long it holds, such as 30d. For good if absent.",
)
@click.option("--description", default="", help="For people: what it is for.")
@click.option(
    "--queue", "queues", multiple=True, help="A queue that a worker may serve. Repeatable."
)
@json_option
@click.pass_obj
def create(
    session: Session,
    role: str,
    project: str,
    expires: timedelta | None,
    description: str,
    queues: tuple[str, ...],
    as_json: bool,
) -> None:
    """Create a token, and print it: nobody can read it again."""
    from talweg.spec import to_dict

    with session.client() as client:
        new = client.create_token(
            role, project=project, description=description, queues=queues, expires=expires
        )
    if as_json:
        print_json({**to_dict(new.token), "secret": new.secret})
        return
    note(f"{new.token.name}: {role} of {_project(project)}. It is shown this once:")
    say(new.secret)


@token.command("list")
@click.option("--all", "include_invalid", is_flag=True, help="Revoked and expired ones too.")
@json_option
@click.pass_obj
def list_(session: Session, include_invalid: bool, as_json: bool) -> None:
    """List the tokens of your projects, the newest first."""
    from talweg.spec import to_dict

    with session.client() as client:
        listed = client.tokens(include_invalid=include_invalid)
    if as_json:
        print_json([to_dict(each) for each in listed])
        return
    if not listed:
        note("there are no tokens; create one with: talweg token create --role submitter")
        return
    from rich.text import Text

    from talweg.client.cli.tables import Column, fitted
    from talweg.client.identity._values import role_name

    rows = []
    now = datetime.now(UTC)
    for each in listed:
        if each.HasField("revoke_time"):
            until = "revoked"
        elif not each.HasField("expire_time"):
            until = "for good"
        elif moment(each.expire_time) <= now:
            until = "expired"
        else:
            until = f"until {moment(each.expire_time):%Y-%m-%d %H:%M} UTC"
        rows.append(
            (
                Text(each.name.removeprefix("tokens/")),
                Text(role_name(each.role)),
                Text(each.project),
                Text(until),
                Text(each.description),
            )
        )
    out = console()
    columns = [Column(name) for name in ("TOKEN", "ROLE", "PROJECT", "HOLDS", "DESCRIPTION")]
    out.print(fitted(columns, rows, out.width))


@token.command()
@click.argument("names", metavar="TOKEN...", nargs=-1, required=True)
@click.pass_obj
def revoke(session: Session, names: tuple[str, ...]) -> None:
    """Revoke tokens: calls with them are refused from then on."""
    with session.client() as client:
        for name in names:
            say(f"{client.revoke_token(name).name} is revoked")


def _project(project: str) -> str:
    return "all projects" if project == "*" else f"project {project}"
