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
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import ValidationError

from talweg.client._client import Client
from talweg.client._errors import InvalidRequest
from talweg.client.agents.errors import EXPECTED, as_data
from talweg.client.agents.tools import Tools
from talweg.spec import Violation
from talweg.spec.errors import shown
from talweg.spec.spelling import nearest

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
    tools = Tools(client, folder)
    made = []
    for tool in tools.all:
        annotations = ToolAnnotations(
            read_only_hint=tool in tools.reading, destructive_hint=False, open_world_hint=False
        )
        made.append(
            _Tool.from_function(_in_thread(tool), annotations=annotations, structured_output=False)
        )
        made[-1].parameters["additionalProperties"] = False
    # Standard output belongs to the protocol, and standard error to what goes wrong.
    return MCPServer("talweg", instructions=_INSTRUCTIONS, log_level="WARNING", tools=made)


class _Tool(Tool):
    """A tool that says of all arguments what is wrong, also of names that it has not got.

    The SDK leaves those out, so that a misspelt option would count for nothing.
    """

    async def run(
        self, arguments: dict[str, Any], context: Any, convert_result: bool = False
    ) -> Any:
        violations = self._violations(arguments)
        if violations:
            data = as_data(InvalidRequest(violations=violations, reason="BAD_ARGUMENTS"))
            text = json.dumps(data, ensure_ascii=False)
            raise ToolError(f"Error executing tool {self.name}: {text}")
        return await super().run(arguments, context, convert_result)

    def _violations(self, arguments: dict[str, Any]) -> list[Violation]:
        names = self.parameters.get("properties", {})
        allowed = f"one of {', '.join(names)}" if names else "no arguments"
        found = [
            Violation(name, shown(name), allowed, nearest(name, names))
            for name in arguments
            if name not in names
        ]
        try:
            self.fn_metadata.validate_arguments(arguments)
        except ValidationError as exc:
            for each in exc.errors(include_url=False):
                value = "nothing" if each["type"] == "missing" else shown(each["input"])
                place = ".".join(map(str, each["loc"]))
                found.append(Violation(place, value, each["msg"][:1].lower() + each["msg"][1:]))
        return found


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
