"""`talweg mcp`."""

import click

from talweg.client.cli._common import Session
from talweg.client.cli._lazy import missing_extra


@click.command()
@click.pass_obj
def mcp(session: Session) -> None:
    """Serve tools for agents over standard input and output, by the Model Context Protocol.

    An agent's configuration names the command, such as {"command": "talweg", "args": ["mcp"]}.
    The tools read the catalogue, check, submit and follow jobs and sweeps, and answer; none of
    them deletes. docs/agents.md lists them.
    """
    try:
        from talweg.client.agents.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "talweg":
            raise
        raise missing_extra("mcp", error, "mcp") from error
    with session.client() as client:
        serve(client)
