"""Which plug-ins are installed beside the workers, as far as these have told."""

import json
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection

from talweg.server.errors import InvalidRequest
from talweg.server.services.arguments import MAX_QUEUE_CHARS, MAX_WORKER_CHARS, text
from talweg.server.services.free_text import readable
from talweg.server.store import plugins
from talweg.server.store.record.clock import microseconds
from talweg.server.store.record.database import Database
from talweg.spec.plugins import Told
from talweg.v1.plugins_pb2 import PluginDeclaration
from talweg.v1.workers_pb2 import ReportPluginsRequest

HOLDS = timedelta(minutes=2)
"""How long a worker's report holds: a worker that is gone is not heard of again."""
_MOST_PLUGINS = 1000
_MOST_QUEUES = 100
_MOST_EXTRAS = 100
_MOST_BYTES = 2**20
_MOST_NAME_CHARS = 100


class PluginService:
    """Takes what workers tell of their plug-ins, and gives it to those who ask."""

    def __init__(self, database: Database) -> None:
        """Keep the record."""
        self._database = database

    async def report(self, request: ReportPluginsRequest, *, owner: str = "") -> None:
        """Take the plug-ins of a worker, all of them.

        Args:
            request: The report.
            owner: The id of the worker's token; empty for none.

        Raises:
            InvalidRequest: It is too large, or names no worker, or holds what no plug-in declares.
        """
        request = readable(request)
        worker = text(request.worker, field="worker", most=MAX_WORKER_CHARS, required=True)
        if request.ByteSize() > _MOST_BYTES:
            raise InvalidRequest.of(
                "plugins", f"must have <= {_MOST_BYTES:,} bytes, but has {request.ByteSize():,}"
            )
        for field, items, most in (
            ("queues", request.queues, _MOST_QUEUES),
            ("plugins", request.plugins, _MOST_PLUGINS),
            ("extras", request.extras, _MOST_EXTRAS),
        ):
            if len(items) > most:
                raise InvalidRequest.of(field, f"must be <= {most}, but are {len(items)}")
        for index, queue in enumerate(request.queues):
            text(queue, field=f"queues[{index}]", most=MAX_QUEUE_CHARS, required=True)
        for index, extra in enumerate(request.extras):
            text(extra, field=f"extras[{index}]", most=_MOST_NAME_CHARS, required=True)
        for index, plugin in enumerate(request.plugins):
            _check(plugin, f"plugins[{index}]")
        await self._database.writing_relaxed(
            plugins.keep,
            worker,
            request.SerializeToString(),
            owner=owner,
            oldest=microseconds(HOLDS),
        )

    async def told(self) -> list[Told]:
        """Return what each worker has told, the latest last."""
        return await self._database.reading(told)


def told(connection: Connection) -> list[Told]:
    """Return what each worker has told lately, the latest last.

    Args:
        connection: To read by.
    """
    return [
        _told(ReportPluginsRequest.FromString(report))
        for report in plugins.current(connection, oldest=microseconds(HOLDS))
    ]


def _told(report: ReportPluginsRequest) -> Told:
    return Told(
        report.worker,
        tuple(report.queues),
        tuple(report.plugins),
        frozenset(report.extras),
        report.environment if report.HasField("environment") else None,
    )


def _check(plugin: PluginDeclaration, at: str) -> None:
    kinds: Sequence[int] = PluginDeclaration.Kind.values()[1:]
    if plugin.kind not in kinds:
        allowed = ", ".join(PluginDeclaration.Kind.keys()[1:])
        raise InvalidRequest.of(f"{at}.kind", f"found {plugin.kind}; allowed: {allowed}")
    text(plugin.name, field=f"{at}.name", most=_MOST_NAME_CHARS, required=True)
    for index, parameter in enumerate(plugin.parameters):
        where = f"{at}.parameters[{index}]"
        text(parameter.name, field=f"{where}.name", most=_MOST_NAME_CHARS, required=True)
        if parameter.HasField("default"):
            try:
                json.loads(parameter.default)
            except (ValueError, RecursionError) as exc:
                raise InvalidRequest.of(f"{where}.default", f"must be JSON: {exc}") from exc
