"""Starts a server of all parts, keeps its duties going, and stops it."""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from sqlalchemy.exc import DBAPIError

from talweg.server import listener
from talweg.server.calls.access import AccessInterceptor
from talweg.server.calls.interceptor import ErrorInterceptor
from talweg.server.calls.rates import RateLimiter, Rates
from talweg.server.concurrency.threads import started_threads
from talweg.server.errors import DatabaseUnavailable, PortTaken
from talweg.server.identity.configured import server_credentials
from talweg.server.limits import connections
from talweg.server.limits.addresses import ConnectionsByAddress
from talweg.server.limits.under_way import CallLimits
from talweg.server.parts import SERVICES, Duty, Parts
from talweg.server.queueing.outage import Outage
from talweg.server.servicers.health import HealthServicer
from talweg.server.servicers.reflection import add_reflection
from talweg.server.settings import Settings
from talweg.server.store import events
from talweg.server.store.record import migrate
from talweg.spec.local.ready import write_ready_file

log = logging.getLogger(__name__)

_GRACE_S = 5.0
_WATCH_CHECK_S = 1.0
_HEALTH_CHECK_S = 2.0
_CONNECTIONS_CHECK_S = 1.0
_RESTART_S = 1.0
_LISTENER_CHECK_S, _LISTENER_PATIENCE_S, _MOST_SILENT = 5.0, 10.0, 3
_SILENT_STATUS = 70
_CANCEL_AGAIN_S = 0.5
# For what blocks beside the record.
_NUM_THREADS = 6


class Server:
    """A server of all services. Several may share one database and one broker."""

    def __init__(
        self, settings: Settings, *, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
    ) -> None:
        """Put the parts together; connect to nothing yet.

        Must be called on the event loop that is to serve.

        Args:
            settings: What to serve on and from.
            interceptors: Further ones; what they raise becomes a status as what servicers raise.

        Raises:
            BadSetting: A URL is of no kind that is supported.
        """
        self._settings = settings
        self.parts = Parts(settings)
        """What it serves."""
        self.database = self.parts.database
        """The record."""
        self._health = HealthServicer()
        self._duties: list[asyncio.Task[None]] = []
        access = AccessInterceptor(
            self.parts.authenticator, self.parts.audit, RateLimiter(_rates(settings))
        )
        self._grpc = grpc.aio.server(
            interceptors=[ErrorInterceptor(_call_limits(settings)), access, *interceptors],
            options=connections.options(idle=settings.idle),
        )
        self.address = ""
        """host:port, once it serves."""

    @property
    def num_watchers(self) -> int:
        """How many watchers of jobs and sweeps there are now."""
        return self.parts.watches.num_watches

    async def start(self) -> None:
        """Migrate the database and serve.

        Raises:
            CannotStart: The port is taken, or the database is of a later version.
            DatabaseUnavailable: The database does not answer.
        """
        version = await asyncio.to_thread(migrate.upgrade, self.database)
        self.parts.add_to(self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        add_reflection(self._grpc, (*SERVICES, health.SERVICE_NAME))
        self.address = self._listen()
        await self._grpc.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        duties = (self._check_watchers, self._check_health, self._check_connections)
        for duty in (*self.parts.duties, *duties):
            self._duties.append(asyncio.create_task(self._keep(duty)))
        # Jobs may have been waiting since before this server.
        self.parts.dispatcher.wake()
        log.info("serves on %s, database version %s", self.address, version)

    async def stop(self, grace: float = _GRACE_S) -> None:
        """Stop serving, let running calls end, and close everything.

        Args:
            grace: How long calls may take to end, in seconds.
        """
        await self._health.enter_graceful_shutdown()
        self.parts.end_watches()
        await self._grpc.stop(grace)
        await self._end_duties()
        await self.parts.close()

    def _listen(self) -> str:
        listen = self._settings.listen
        try:
            secured = server_credentials(self._settings)
            if secured is None:
                port = self._grpc.add_insecure_port(listen)
            else:
                port = self._grpc.add_secure_port(listen, secured)
        except RuntimeError as exc:
            raise PortTaken(
                f"cannot listen on {listen}: the address is in use, or not on this machine. Set "
                "TALWEG_LISTEN to another address; with port 0 the system chooses a free one"
            ) from exc
        if listen.startswith("unix:"):
            return listen
        return f"{listen.rpartition(':')[0]}:{port}"

    async def _keep(self, duty: Duty) -> None:
        # A server without its reaper or dispatcher would look well and do half of its work. None
        # of the duties remembers anything that matters, so each can begin again.
        while True:
            try:
                await duty()
            except Exception:
                log.exception("%s failed, and is restarted", duty)
            await asyncio.sleep(_RESTART_S)

    async def _end_duties(self) -> None:
        running = set(self._duties)
        while running:
            for duty in running:
                duty.cancel()
            # Again where a library has swallowed it: asyncio.wait_for does, before Python 3.12, in
            # redis-py among others, where what it waits for is done in the same moment.
            _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)

    async def _check_watchers(self) -> None:
        # One question a second for all watchers together. It makes up for whatever was not told:
        # another server's events while Redis is away, or what a trimmed stream skipped.
        while True:
            await asyncio.sleep(_WATCH_CHECK_S)
            watched = self.parts.hub.watched
            if watched:
                with suppress(DatabaseUnavailable):
                    self.parts.hub.check(await self.database.reading(events.last_cursors, watched))

    async def _check_health(self) -> None:
        outage = Outage(
            log,
            "the record cannot be written, health is NOT_SERVING",
            "the record can be written again, health is SERVING",
        )
        while True:
            await asyncio.sleep(_HEALTH_CHECK_S)
            status = health_pb2.HealthCheckResponse.SERVING
            try:
                await self.database.check()
            except (DatabaseUnavailable, DBAPIError) as exc:
                status = health_pb2.HealthCheckResponse.NOT_SERVING
                # The driver's own words, which callers over the wire are not given.
                outage.failed(getattr(exc.__cause__, "orig", exc))
            else:
                outage.passed()
            await self._set_health(status)

    async def _check_connections(self) -> None:
        port = self.address.rpartition(":")[2]
        if not port.isdecimal():
            # A socket of this machine, whose callers have no address.
            await asyncio.Event().wait()
        found = ConnectionsByAddress(int(port), self._settings.max_connections)
        while True:
            await asyncio.sleep(_CONNECTIONS_CHECK_S)
            for host, number in (await asyncio.to_thread(found.shed)).items():
                log.warning(
                    "%s had %d connections too many, which were closed: TALWEG_MAX_CONNECTIONS "
                    "allows %d",
                    host,
                    number,
                    self._settings.max_connections,
                )

    async def check_listener(self) -> None:
        """End this process once its port is silent for good; for one that is started anew."""
        num_silent = 0
        is_secured = self._settings.tls_cert_file is not None
        while True:
            await asyncio.sleep(_LISTENER_CHECK_S)
            is_well = await listener.answers(
                self.address, is_secured=is_secured, seconds=_LISTENER_PATIENCE_S
            )
            num_silent = 0 if is_well else num_silent + 1
            if num_silent >= _MOST_SILENT:
                log.critical(
                    "no connection is taken at %s any more, mostly since the limit of processes "
                    "was reached (ulimit -u); this process ends, to be started anew",
                    self.address,
                )
                # Nothing is lost by it: what was answered is in the record.
                os._exit(_SILENT_STATUS)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, status)


def _rates(settings: Settings) -> Rates:
    return Rates(
        reads=settings.reads_per_second,
        writes=settings.writes_per_second,
        worker_calls=settings.worker_calls_per_second,
    )


def _call_limits(settings: Settings) -> CallLimits:
    standard = CallLimits()
    # A prediction has a limit of its own, which ends with words of its own.
    unary = max(standard.unary, settings.predict_time + timedelta(minutes=1))
    return replace(standard, calls=settings.max_calls, slow=settings.slow_reader, unary=unary)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: What to serve on and from.

    Raises:
        CannotStart: A setting cannot be used, the port is taken, or the database is of a later
            version.
        DatabaseUnavailable: The database does not answer.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(started_threads(_NUM_THREADS, name="server"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(settings)
    try:
        await server.start()
        print(f"talweg server listens on {server.address}", flush=True)
        write_ready_file(settings.ready_file, address=server.address)
        checking = asyncio.create_task(server.check_listener())
        await stopping.wait()
        checking.cancel()
        log.info("stops")
    finally:
        await server.stop()
