"""The tools over stdio, by the SDK of the Model Context Protocol."""

import asyncio
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from talweg.client._client import Client
from talweg.client.agents.errors import EXPECTED, as_data
from talweg.client.agents.tools import Tools

_INSTRUCTIONS = """\
Talweg trains PyTorch models and compares them. Look into the catalogue for names, `check` a spec
before you submit it. Prefer a `sweep` with `compare` to single jobs: its `answer` says how sure
a difference is. Settings are chosen on validation data; test data are for the final comparison
alone. Name one `session` for all that you try: its comparisons share one error budget, and it
says what to keep. Errors are JSON with a code and all violations. Nothing here deletes."""


def serve(client: Client, folder: Path) -> None:
    """Answer on standard input and output until the caller ends.

    Args:
        client: Asks the server.
        folder: Files may be uploaded from it.
    """
    build(client, folder).run("stdio")


def build(client: Client, folder: Path) -> MCPServer:
    """Return a server of all tools.

    Args:
        client: Asks the server.
        folder: Files may be uploaded from it.
    """
    # Standard output belongs to the protocol, and standard error to what goes wrong.
    server = MCPServer("talweg", instructions=_INSTRUCTIONS, log_level="WARNING")
    tools = Tools(client, folder)
    for tool in tools.all:
        annotations = ToolAnnotations(
            read_only_hint=tool in tools.reading, destructive_hint=False, open_world_hint=False
        )
        server.tool(annotations=annotations, structured_output=False)(_in_thread(tool))
    return server


def _in_thread(tool: Callable[..., Any]) -> Callable[..., Any]:
    """Return a tool for the event loop, whose errors are data."""

    @functools.wraps(tool)
    async def call(*args: Any, **kwargs: Any) -> str:
        try:
            result = await asyncio.to_thread(tool, *args, **kwargs)
        except EXPECTED as error:
            raise ToolError(json.dumps(as_data(error), ensure_ascii=False)) from error
        if isinstance(result, str):
            return result
        return json.dumps(_in_json(result), ensure_ascii=False, allow_nan=False)

    call.__annotations__ = {**tool.__annotations__, "return": str}
    return call


def _in_json(value: Any) -> Any:
    """Return data with numbers that JSON lacks, such as those of diverged jobs, as text."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {name: _in_json(each) for name, each in value.items()}
        case list() | tuple():
            return [_in_json(each) for each in value]
    return value
