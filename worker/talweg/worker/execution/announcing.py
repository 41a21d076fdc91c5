"""Telling the server which plug-ins and extras are installed beside this worker."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import grpc

from talweg.spec.broker import CUDA_QUEUE
from talweg.v1.plugins_pb2 import PluginDeclaration
from talweg.v1.workers_pb2 import ReportPluginsRequest
from talweg.worker.channels import Channel, ServerAwayError, call
from talweg.worker.environment import common_environment, extras
from talweg.worker.plugins import installed, names

# A report holds for two minutes.
_EVERY_SECONDS = 30.0
_PATIENCE = 2.0

log = logging.getLogger(__name__)


def announce(
    channel: Channel,
    *,
    worker: str,
    queues: Sequence[str],
    shutting_down: Callable[[], bool],
    names_first: bool = True,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Tell the server of all plug-ins and extras, and again twice a minute, until the worker ends.

    They are loaded once, in another process; one that is installed later is told of by the next
    worker.

    Args:
        channel: To the server.
        worker: The worker's name.
        queues: The queues that it takes jobs from.
        shutting_down: Whether the worker is about to end.
        names_first: Tell their names at once, so that what an earlier worker of the same name had
            counts no longer; what they say of themselves follows once they are loaded.
        pause: Waits for so many seconds.
    """

    def report(plugins: Sequence[PluginDeclaration]) -> ReportPluginsRequest:
        return ReportPluginsRequest(
            worker=worker,
            queues=queues,
            plugins=plugins,
            extras=extras(),
            environment=common_environment("cuda" if CUDA_QUEUE in queues else "cpu"),
        )

    request = report(names())
    if request.plugins:
        if names_first:
            with suppress(ServerAwayError, grpc.RpcError):
                until = time.monotonic() + _PATIENCE
                call(channel.workers.ReportPlugins, request, until=until, give_up=shutting_down)
        request = report(installed())
        for plugin in request.plugins:
            _log(plugin)
    log.info("optional extras: %s", ", ".join(request.extras) or "none")
    while not shutting_down():
        until = time.monotonic() + _EVERY_SECONDS
        try:
            call(channel.workers.ReportPlugins, request, until=until, give_up=shutting_down)
        except ServerAwayError:
            continue
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.UNIMPLEMENTED:
                return  # A server of an earlier version, which checks no plug-ins.
            log.warning("the server was not told of the plug-ins: %s", exc.details())
        pause(_EVERY_SECONDS)


def take_back(channel: Channel, worker: str) -> None:
    """Tell the server that a worker takes no jobs any more, so that its plug-ins count no longer.

    Args:
        channel: To the server.
        worker: The worker's name.
    """
    with suppress(ServerAwayError, grpc.RpcError):
        until = time.monotonic() + _PATIENCE
        call(channel.workers.ReportPlugins, ReportPluginsRequest(worker=worker), until=until)


def _log(plugin: PluginDeclaration) -> None:
    kind = PluginDeclaration.Kind.Name(plugin.kind).lower()
    package = f" of {plugin.package} {plugin.version}" if plugin.package else ""
    if plugin.problem:
        log.error("%s plug-in %s%s cannot be used: %s", kind, plugin.name, package, plugin.problem)
    else:
        log.info("%s plug-in %s%s", kind, plugin.name, package)
