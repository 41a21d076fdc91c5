"""`talweg cert`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from talweg.server.identity import certificates
from talweg.server.identity.certificates import CertificateError


@click.group()
def cert() -> None:
    """Make certificates for a small team: for TLS, and for mutual TLS."""


@cert.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    help="A name or an address by which other machines reach the server. Repeatable.",
)
@click.option("--days", default=365, type=click.IntRange(1, 3650), help="How long it holds.")
def cert_init(folder: Path, hosts: tuple[str, ...], days: int) -> None:
    """Make a certificate authority, and the server's certificate.

    FOLDER gets ca.pem, which clients and workers need (TALWEG_CA_FILE); server.pem and
    server-key.pem, which the server needs (TALWEG_TLS_CERT_FILE, TALWEG_TLS_KEY_FILE); and
    ca-key.pem, which signs further certificates and should leave the machine for a safe place.
    """
    with _certified():
        certificates.make_authority(folder)
        files = certificates.issue(folder, "server", hosts=hosts, days=days)
    click.echo(f"wrote {folder / certificates.CA_FILE}, {files[0]} and {files[1]}")


@cert.command("issue")
@click.argument("folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.argument("name")
@click.option("--host", "hosts", multiple=True, help="For a server: its name or address.")
@click.option("--days", default=365, type=click.IntRange(1, 3650), help="How long it holds.")
@click.option("--replace", is_flag=True, help="Take the place of an earlier one: renew it.")
def cert_issue(folder: Path, name: str, hosts: tuple[str, ...], days: int, replace: bool) -> None:
    """Make a further certificate: of a worker or a client, or of a server with --host.

    A running server takes its renewed certificate for new connections, without a restart.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or (
        name == "ca" or name.endswith("-key")
    ):
        raise click.BadParameter(
            "must be 1 to 64 letters, digits, dots, hyphens or underscores, not ca, and not end "
            "in -key",
            param_hint="NAME",
        )
    with _certified():
        files = certificates.issue(folder, name, hosts=hosts, days=days, replace=replace)
    click.echo(f"wrote {files[0]} and {files[1]}")


@contextmanager
def _certified() -> Iterator[None]:
    try:
        yield
    except (CertificateError, OSError, ValueError) as exc:
        raise click.ClickException(str(exc)) from exc
