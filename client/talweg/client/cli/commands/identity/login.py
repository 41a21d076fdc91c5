"""`talweg login`, `talweg logout` and `talweg whoami`."""

import os
import sys

import click

from talweg.client.cli._common import Session, json_option, note, print_json, say


@click.command()
@click.argument("address", metavar="HOST:PORT")
@click.option(
    "--ca",
    "ca_file",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="The CA of the server's certificate, in PEM. Default: those of the system.",
)
@click.option("--project", default="", help="The project to act in, for a token of all projects.")
@click.option(
    "--insecure",
    is_flag=True,
    help="Speak without TLS, in a network that is protected otherwise.",
)
def login(address: str, ca_file: str | None, project: str, insecure: bool) -> None:
    """Keep a server's address and your token for all further commands.

    The token is asked for, or read from standard input. The server must know it. It is kept in a
    file that you alone can read.
    """
    from talweg.client import Client
    from talweg.client._address import check
    from talweg.client._profile import Profile, write_profile
    from talweg.client.identity._values import role_name
    from talweg.spec.identity.security import INSECURE, checked_project, checked_token, is_loopback

    whole = check(address)
    if sys.stdin.isatty():
        secret = click.prompt("Token", hide_input=True, err=True)
    else:
        secret = sys.stdin.readline(4096)
    profile = Profile(
        whole,
        token=checked_token(secret.strip()),
        use_tls=ca_file is not None or not (insecure or is_loopback(whole)),
        ca_file=ca_file or "",
        project=checked_project(project),
        may_be_plain=insecure,
    )
    if not profile.token:
        raise click.UsageError("a token is needed; an admin creates one with: talweg token create")
    if insecure:
        os.environ[INSECURE] = "1"
    with Client(
        whole, token=profile.token, project=project, ca_file=ca_file, tls=profile.use_tls
    ) as client:
        caller = client.caller()
    path = write_profile(profile, os.environ)
    if not caller.authenticated:
        note(f"the server at {whole} asks for no tokens: whoever reaches it may do everything")
    say(f"{whole}: {role_name(caller.role)} in project {caller.project}. Kept in {path}")


@click.command()
def logout() -> None:
    """Forget the server and the token of `talweg login`. The token itself still holds."""
    from talweg.client._profile import remove_profile

    say("forgotten" if remove_profile(os.environ) else "there is no profile")


@click.command()
@json_option
@click.pass_obj
def whoami(session: Session, as_json: bool) -> None:
    """Show which server you speak to, and what you may do there."""
    from talweg.client.identity._values import role_name
    from talweg.spec import to_dict

    with session.client() as client:
        caller, address = client.caller(), client.address
    if as_json:
        print_json({"server": address, **to_dict(caller)})
        return
    if not caller.authenticated:
        say(f"{address} asks for no tokens: whoever reaches it may do everything")
        return
    what = caller.description or caller.token
    say(f"{address}: {role_name(caller.role)} in project {caller.project} ({what})")
