"""The subcommands `talweg server` and `talweg db`."""

import asyncio
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy.exc import DBAPIError

from talweg.server.errors import CannotStart, DatabaseUnavailable
from talweg.server.identity.methods import Role
from talweg.server.limits import raise_file_limit
from talweg.server.services.tokens import TokenRequest, create_token
from talweg.server.settings import Settings
from talweg.server.store.record import migrate
from talweg.server.store.record.database import Database
from talweg.spec.projects import ALL_PROJECTS
from talweg.spec.security import INSECURE


@click.command()
@click.option(
    "--insecure",
    is_flag=True,
    help="Listen on an address that other machines reach, without tokens or TLS.",
)
def server(insecure: bool) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    It is configured by TALWEG_* variables; see docs/settings.md.
    """
    from talweg.server.serving import serve  # noqa: PLC0415 - `talweg db` needs no gRPC, no Celery

    with _explained():
        env = {**os.environ, INSECURE: "1"} if insecure else os.environ
        settings = Settings.from_env(env)
        logging.basicConfig(
            level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        if settings.log_level != "DEBUG":
            # It tells at length of each start that nothing was to be done.
            logging.getLogger("alembic").setLevel(logging.WARNING)
        raise_file_limit()
        asyncio.run(serve(settings))


@click.group()
def db() -> None:
    """Look after the server's database (TALWEG_DATABASE_URL)."""


@db.command()
def upgrade() -> None:
    """Bring the tables to this server's version. The server does so too, at its start."""
    with _database() as database:
        click.echo(f"the database has version {migrate.upgrade(database)}")


@db.command()
def current() -> None:
    """Show the database's version, and the one that this server needs."""
    with _database() as database:
        click.echo(f"database: {migrate.current(database) or 'no tables yet'}")
        click.echo(f"server:   {migrate.latest()}")


@db.command("admin-token")
def admin_token() -> None:
    """Create a token of an admin of all projects, and print it.

    For the first one, or where all are lost. It needs the record (TALWEG_DATABASE_URL) and the key
    of the tokens (TALWEG_TOKEN_KEY_FILE), and no running server.
    """
    from talweg.server.identity.configured import token_key  # noqa: PLC0415 - as above

    with _database() as database:
        key = token_key(Settings.from_env())
        migrate.upgrade(database)
        request = TokenRequest("talweg db admin-token", Role.ADMIN, ALL_PROJECTS)
        with database.write() as tx:
            _, token = create_token(tx, request, key=key, creator="")
        click.echo(token)


_DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data folder of a stack. Default: TALWEG_DATA, else the server of "
    "TALWEG_DATABASE_URL, else .talweg.",
)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_DATA
@click.option(
    "--no-blobs", is_flag=True, help="Without the blob store, which has a backup of its own."
)
def backup(folder: Path, data: Path | None, no_blobs: bool) -> None:
    """Write a backup into FOLDER, while everything runs.

    It holds the record, as of one moment; checkpoints, data sets and files of jobs; the key of the
    tokens; and, of a stack on one machine, MLflow and the results that wait for it. It holds
    secrets: keep it as safe as the stack itself.
    """
    from talweg.server.backup import backup as backups  # noqa: PLC0415 - nothing else needs it
    from talweg.server.backup.places import find_places  # noqa: PLC0415

    with _explained(), _kept():
        found = find_places(data, os.environ)
        backups.back_up(found, folder, include_blobs=not no_blobs, say=click.echo)
    click.echo(f"the backup is in {folder}")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_DATA
def restore(folder: Path, data: Path | None) -> None:
    """Restore the backup in FOLDER where nothing is yet.

    A backup of SQLite can be restored into PostgreSQL, and the reverse. Jobs that ran when it was
    written are resumed.
    """
    from talweg.server.backup import backup as backups  # noqa: PLC0415 - nothing else needs it
    from talweg.server.backup.places import find_places  # noqa: PLC0415

    with _explained(), _kept():
        backups.restore(folder, find_places(data, os.environ), say=click.echo)
    click.echo("restored")


@contextmanager
def _kept() -> Iterator[None]:
    from talweg.server.store.record.dump import DumpError  # noqa: PLC0415 - as above

    try:
        yield
    except (DumpError, OSError) as exc:
        raise click.ClickException(str(exc)) from exc


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
    from talweg.server.identity import certificates  # noqa: PLC0415 - nothing else needs it

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
    from talweg.server.identity import certificates  # noqa: PLC0415 - nothing else needs it

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
    from talweg.server.identity.certificates import CertificateError  # noqa: PLC0415 - as above

    try:
        yield
    except (CertificateError, OSError, ValueError) as exc:
        raise click.ClickException(str(exc)) from exc


@contextmanager
def _database() -> Iterator[Database]:
    with _explained():
        database = Database(Settings.from_env().database_url)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CannotStart as exc:
        raise click.ClickException(str(exc)) from exc
    except DatabaseUnavailable as exc:
        # The driver's own words, which callers over the wire are not given.
        cause = getattr(exc.__cause__, "orig", None)
        raise click.ClickException(f"TALWEG_DATABASE_URL: {cause or exc}") from exc
    except DBAPIError as exc:
        # It answers, and cannot be used: a file of another kind, a user without rights.
        raise click.ClickException(f"TALWEG_DATABASE_URL: {exc.orig}") from exc
