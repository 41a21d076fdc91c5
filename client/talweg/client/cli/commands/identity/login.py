"""`talweg login`, `talweg logout` and `talweg whoami`."""

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from talweg.client.cli._common import Session, json_option, note, print_json, say

if TYPE_CHECKING:
    from talweg.client._profile import Profile

# What a server takes.
_MOST_CHARS = 16_000


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
@click.option(
    "--no-keyring",
    is_flag=True,
    help="Keep the token in a file that you alone can read, even if there is a keyring.",
)
def login(
    address: str, ca_file: str | None, project: str, insecure: bool, no_keyring: bool
) -> None:
    """Keep a server's address and your token for all further commands.

    The token is asked for, or read from standard input. The server must know it. It is kept in the
    system's keyring, if the extra `keyring` is installed and there is one, or else in a file that
    you alone can read.
    """
    from talweg.client import Client
    from talweg.client._address import check
    from talweg.client._profile import Profile
    from talweg.client.identity._values import role_name
    from talweg.spec.identity.security import INSECURE, checked_project, checked_token, is_loopback

    whole = check(address)
    profile = Profile(
        whole,
        token=checked_token(_asked_token()),
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
    where = _keep(profile, may_use_keyring=not no_keyring)
    if not caller.authenticated:
        note(f"the server at {whole} asks for no tokens: whoever reaches it may do everything")
    say(f"{whole}: {role_name(caller.role)} in project {caller.project}. {where}")


def _asked_token() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True, err=True)).strip()
    secret = sys.stdin.readline(_MOST_CHARS + 2)
    if len(secret.strip()) > _MOST_CHARS:
        raise click.UsageError(f"a token has at most {_MOST_CHARS:,} characters")
    return secret.strip()


def _keep(profile: "Profile", *, may_use_keyring: bool) -> str:
    """Write the profile, and its token into the keyring or beside it.

    Args:
        profile: With the token.
        may_use_keyring: Whether a keyring may hold it.

    Returns:
        Where the token is, in words.
    """
    from talweg.client._profile import read_profile, write_profile
    from talweg.client.identity import _keyring

    before = read_profile(os.environ)
    kept = _keyring.Kept()
    if may_use_keyring:
        kept = _keyring.keep(profile.address, profile.token)
    if kept.problem:
        note(f"the token is not in the system's keyring: {kept.problem}")
    is_inside = bool(kept.keyring)
    path = write_profile(
        replace(profile, token="" if is_inside else profile.token, in_keyring=is_inside),
        os.environ,
    )
    # What no profile leads to would stay there for good.
    if before is not None and before.in_keyring:
        if not (is_inside and before.address == profile.address):
            _forget(before)
    if is_inside:
        return f"The token is in the system's keyring ({kept.keyring}), the rest in {path}"
    return f"Kept in {path}"


def _forget(profile: "Profile") -> None:
    """Remove the token of a profile from the keyring, or say that it is still there."""
    from talweg.client.identity import _keyring

    if not _keyring.forget(profile.address):
        note(
            f"the token for {profile.address} may still be in the system's keyring, which cannot "
            f"be used: remove it there (service {_keyring.SERVICE})"
        )


@click.command()
def logout() -> None:
    """Forget the server and the token of `talweg login`. The token itself still holds.

    It is removed from the system's keyring too, if it is there.
    """
    from talweg.client._profile import read_profile, remove_profile

    profile = read_profile(os.environ)
    if profile is not None and profile.in_keyring:
        _forget(profile)
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
