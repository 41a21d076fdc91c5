"""`talweg server`."""

import asyncio
import logging
import os

import click

from talweg.server.commands.explained import explained
from talweg.server.limits.connections import raise_file_limit
from talweg.server.serving import serve
from talweg.server.settings import Settings
from talweg.spec.identity.security import INSECURE
from talweg.spec.local.allocation import keep_freed_blocks
from talweg.spec.local.environment import past_proxies


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
    # A broker or a blob store may be on this machine.
    os.environ |= past_proxies(os.environ)
    with explained():
        env = {**os.environ, INSECURE: "1"} if insecure else os.environ
        settings = Settings.from_env(env)
        logging.basicConfig(
            level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        if settings.log_level != "DEBUG":
            # It tells at length of each start that nothing was to be done.
            logging.getLogger("alembic").setLevel(logging.WARNING)
        raise_file_limit()
        keep_freed_blocks()
        asyncio.run(serve(settings))
