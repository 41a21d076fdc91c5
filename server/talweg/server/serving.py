"""Puts the server's parts together, starts them and stops them."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from sqlalchemy.exc import DBAPIError

from talweg.server import limits
from talweg.server.access import AccessInterceptor
from talweg.server.broker import celery_app
from talweg.server.errors import DatabaseUnavailable, PortTaken
from talweg.server.events.hub import Hub
from talweg.server.events.stream import EventStream
from talweg.server.health import HealthServicer
from talweg.server.identity.configured import make_authenticator, server_credentials
from talweg.server.interceptor import ErrorInterceptor
from talweg.server.queueing.dispatcher import Dispatcher
from talweg.server.queueing.outage import Outage
from talweg.server.queueing.predicting import PredictionControl
from talweg.server.queueing.presence import Presence
from talweg.server.queueing.wake_ups import WakeUps
from talweg.server.reflection import add_reflection
from talweg.server.servicers.artifacts import ArtifactServicer
from talweg.server.servicers.catalog import CatalogServicer
from talweg.server.servicers.identity import IdentityServicer
from talweg.server.servicers.jobs import JobServicer, JobServices
from talweg.server.servicers.predictions import PredictionServicer
from talweg.server.servicers.sessions import SessionServicer
from talweg.server.servicers.stored_datasets import DatasetServices, StoredDatasetServicer
from talweg.server.servicers.sweeps import SweepServicer, SweepServices
from talweg.server.servicers.system import SystemServicer
from talweg.server.servicers.workers import WorkerServicer
from talweg.server.services.artifacts import ArtifactService
from talweg.server.services.attempts.leases import LeaseService
from talweg.server.services.attempts.reaper import Reaper
from talweg.server.services.attempts.tracking import TrackingService
from talweg.server.services.audit import AuditLog
from talweg.server.services.cancellation import CancellationService
from talweg.server.services.comparison.answer import AnswerService
from talweg.server.services.comparison.compare import ComparisonService
from talweg.server.services.comparison.process import StatisticsProcess
from talweg.server.services.jobs import JobService
from talweg.server.services.pausing import PauseService
from talweg.server.services.plugins import PluginService
from talweg.server.services.predictions import PredictionService
from talweg.server.services.quotas import QuotaService
from talweg.server.services.retention.collection import CollectionService
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.services.retention.folders import FolderService
from talweg.server.services.search.asking import AskingService
from talweg.server.services.search.process import SearchProcess
from talweg.server.services.sessions.closing import ClosingService
from talweg.server.services.sessions.deciding import SessionService
from talweg.server.services.status import StatusService
from talweg.server.services.stored_datasets.deletion import DatasetDeletionService
from talweg.server.services.stored_datasets.fetching import Fetcher
from talweg.server.services.stored_datasets.lookup import LookupService
from talweg.server.services.stored_datasets.reading import Reader, ReadLimits
from talweg.server.services.stored_datasets.sources import SourceService
from talweg.server.services.stored_datasets.staging import Staging
from talweg.server.services.stored_datasets.storage import DatasetStorage
from talweg.server.services.stored_datasets.upload import UploadService
from talweg.server.services.submission.submit import SubmissionService
from talweg.server.services.sweep_runs import SweepRunService
from talweg.server.services.sweeps.answering import SweepAnswerService
from talweg.server.services.sweeps.control import SweepControlService
from talweg.server.services.sweeps.creation import CreationService
from talweg.server.services.sweeps.difference import DifferenceService
from talweg.server.services.sweeps.lookup import SweepService
from talweg.server.services.sweeps.runner import SweepRunner
from talweg.server.services.tokens import TokenService
from talweg.server.services.watching import WatchLimit, WatchService
from talweg.server.settings import Settings
from talweg.server.store import events
from talweg.server.store.record import migrate
from talweg.server.store.record.database import Changes, Database
from talweg.spec.ready import write_ready_file
from talweg.v1 import (
    artifacts_pb2,
    catalog_pb2,
    identity_pb2,
    jobs_pb2,
    predictions_pb2,
    sessions_pb2,
    stored_datasets_pb2,
    sweeps_pb2,
    system_pb2,
    workers_pb2,
)
from talweg.v1.artifacts_pb2_grpc import add_ArtifactServiceServicer_to_server
from talweg.v1.catalog_pb2_grpc import add_CatalogServiceServicer_to_server
from talweg.v1.identity_pb2_grpc import add_IdentityServiceServicer_to_server
from talweg.v1.jobs_pb2_grpc import add_JobServiceServicer_to_server
from talweg.v1.predictions_pb2_grpc import add_PredictionServiceServicer_to_server
from talweg.v1.sessions_pb2_grpc import add_SessionServiceServicer_to_server
from talweg.v1.stored_datasets_pb2_grpc import add_StoredDatasetServiceServicer_to_server
from talweg.v1.sweeps_pb2_grpc import add_SweepServiceServicer_to_server
from talweg.v1.system_pb2_grpc import add_SystemServiceServicer_to_server
from talweg.v1.workers_pb2_grpc import add_WorkerServiceServicer_to_server

log = logging.getLogger(__name__)

SERVICES = (
    jobs_pb2.DESCRIPTOR.services_by_name["JobService"].full_name,
    workers_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name,
    catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name,
    system_pb2.DESCRIPTOR.services_by_name["SystemService"].full_name,
    stored_datasets_pb2.DESCRIPTOR.services_by_name["StoredDatasetService"].full_name,
    artifacts_pb2.DESCRIPTOR.services_by_name["ArtifactService"].full_name,
    predictions_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name,
    sweeps_pb2.DESCRIPTOR.services_by_name["SweepService"].full_name,
    identity_pb2.DESCRIPTOR.services_by_name["IdentityService"].full_name,
    sessions_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
)
"""The full names of Talweg's own services."""

_GRACE_S = 5.0
_WATCH_CHECK_S = 1.0
_HEALTH_CHECK_S = 2.0
_RESTART_S = 1.0
_CANCEL_AGAIN_S = 0.5


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
        self._loop = asyncio.get_running_loop()
        self._hub = Hub()
        self._stream = EventStream(settings.broker_url, self._hub.tell)
        self.database = Database(settings.database_url, on_commit=self._committed)
        """The record."""
        celery = celery_app(settings.broker_url)
        self._dispatcher = Dispatcher(self.database, WakeUps(settings.broker_url, celery))
        self._presence = Presence(celery, self._dispatcher)
        self._predicting = PredictionControl(celery_app(settings.broker_url))
        self._reaper = Reaper(self.database, max_lost_attempts=settings.max_lost_attempts)
        self._collection = CollectionService(self.database, keep_days=settings.keep_days)
        self._staging = Staging(Path(settings.uploads))
        self._storage = DatasetStorage(self.database, settings.blobs)
        limits_of_reading = ReadLimits(settings.ingest_memory_bytes, settings.ingest_time)
        self._uploads = UploadService(
            self.database,
            self._staging,
            Reader(limits_of_reading),
            self._storage,
            max_bytes=settings.max_upload_bytes,
        )
        self._sources = SourceService(
            self.database,
            self._staging,
            Fetcher(limits_of_reading, max_bytes=settings.max_upload_bytes),
            self._uploads,
            roots=settings.data_roots,
            max_bytes=settings.max_upload_bytes,
        )
        self.statistics = StatisticsProcess()
        """Computes the statistics of comparisons."""
        self._sessions = SessionService(self.database, self.statistics)
        self._submission = SubmissionService(
            self.database, self._sources, self._sessions.take_looks
        )
        self._search = SearchProcess()
        asking = AskingService(self._search)
        self._sweeps = SweepRunner(self.database, self._submission, asking, self.statistics)
        self._watches = WatchLimit(settings.max_watches)
        self._sweep_lookup = SweepService(
            self.database, self._watches, tracking_uri=settings.public_tracking_uri
        )
        self._artifacts = ArtifactService(self.database, settings.blobs)
        self._health = HealthServicer()
        self._duties: list[asyncio.Task[None]] = []
        self._token_key, self._authenticator = make_authenticator(settings, self.database)
        self._audit = AuditLog(self.database)
        access = AccessInterceptor(self._authenticator, self._audit)
        self._grpc = grpc.aio.server(
            interceptors=[ErrorInterceptor(), access, *interceptors],
            options=limits.options(idle=settings.idle),
        )
        self.address = ""
        """host:port, once it serves."""

    @property
    def num_watchers(self) -> int:
        """How many watchers of jobs and sweeps there are now."""
        return self._watches.num_watches

    async def start(self) -> None:
        """Migrate the database and serve.

        Raises:
            CannotStart: The port is taken, or the database is of a later version.
            DatabaseUnavailable: The database does not answer.
        """
        version = await asyncio.to_thread(migrate.upgrade, self.database)
        self._add_services()
        self.address = self._listen()
        await self._grpc.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        for duty in (
            self._dispatcher.run,
            self._presence.run,
            self._reaper.run,
            self._sweeps.run,
            self._collection.run,
            self._staging.clean,
            self._storage.run,
            self._audit.run,
            self._stream.write,
            self._stream.read,
            self._check_watchers,
            self._check_health,
        ):
            self._duties.append(self._loop.create_task(self._keep(duty)))
        # Jobs may have been waiting since before this server.
        self._dispatcher.wake()
        log.info("serves on %s, database version %s", self.address, version)

    async def stop(self, grace: float = _GRACE_S) -> None:
        """Stop serving, let running calls end, and close everything.

        Args:
            grace: How long calls may take to end, in seconds.
        """
        await self._health.enter_graceful_shutdown()
        self._hub.close()
        self._sweep_lookup.close()
        await self._grpc.stop(grace)
        await self._end_duties()
        await self._audit.flush()
        await self._sources.close()
        await self.statistics.close()
        await self._search.close()
        await self._stream.close()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._submission.close()
        self._staging.close()
        self._artifacts.close()
        self._predicting.close()
        self._presence.close()
        self._dispatcher.close()
        self.database.close()

    def _committed(self, changes: Changes) -> None:
        # In the writing thread.
        with suppress(RuntimeError):  # The loop has ended: nobody is left to be told.
            self._loop.call_soon_threadsafe(self._tell, changes)

    def _tell(self, changes: Changes) -> None:
        for job, new in changes.events.items():
            self._hub.tell(job, new)
            self._stream.offer(job, new)
        if any(event.HasField("finished") for new in changes.events.values() for event in new):
            self._sweeps.wake()
        if changes.queues:
            self._dispatcher.wake()

    def _add_services(self) -> None:
        database = self.database
        deletion = DeletionService(database)
        comparison, answers = ComparisonService(database), AnswerService(self.statistics)
        add_JobServiceServicer_to_server(
            JobServicer(
                JobServices(
                    submission=self._submission,
                    jobs=JobService(
                        database,
                        self._presence,
                        tracking_uri=self._settings.public_tracking_uri,
                    ),
                    watching=WatchService(database, self._hub, self._watches),
                    comparison=comparison,
                    answers=answers,
                    cancellation=CancellationService(database),
                    pausing=PauseService(database),
                    deletion=deletion,
                    collection=self._collection,
                    folders=FolderService(database, self._settings.blobs),
                )
            ),
            self._grpc,
        )
        leases = LeaseService(
            database,
            lease=self._settings.lease,
            max_lost_attempts=self._settings.max_lost_attempts,
        )
        tracking = TrackingService(database)
        plugins = PluginService(database)
        predictions = PredictionService(
            database,
            self._artifacts,
            plugins,
            self._predicting,
            time_limit=self._settings.predict_time,
        )
        add_WorkerServiceServicer_to_server(
            WorkerServicer(
                leases, tracking, deletion, plugins, predictions, SweepRunService(database)
            ),
            self._grpc,
        )
        add_PredictionServiceServicer_to_server(PredictionServicer(predictions), self._grpc)
        add_SystemServiceServicer_to_server(
            SystemServicer(StatusService(database, self._presence, tracking)), self._grpc
        )
        self._add_stored_datasets()
        self._add_sweeps(comparison, answers)
        add_ArtifactServiceServicer_to_server(ArtifactServicer(self._artifacts), self._grpc)
        add_CatalogServiceServicer_to_server(CatalogServicer(plugins), self._grpc)
        tokens = TokenService(database, self._authenticator, key=self._token_key)
        identity = IdentityServicer(tokens, QuotaService(database), self._audit)
        add_IdentityServiceServicer_to_server(identity, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        add_reflection(self._grpc, (*SERVICES, health.SERVICE_NAME))

    def _add_stored_datasets(self) -> None:
        services = DatasetServices(
            upload=self._uploads,
            lookup=LookupService(self.database),
            deletion=DatasetDeletionService(self.database, self._storage),
        )
        add_StoredDatasetServiceServicer_to_server(StoredDatasetServicer(services), self._grpc)

    def _add_sweeps(self, comparison: ComparisonService, answers: AnswerService) -> None:
        sessions = self._sessions
        add_SessionServiceServicer_to_server(
            SessionServicer(sessions, ClosingService(self.database, sessions)), self._grpc
        )
        services = SweepServices(
            creation=CreationService(self.database, self._submission, self._sweeps.wake),
            difference=DifferenceService(self.database),
            sweeps=self._sweep_lookup,
            control=SweepControlService(self.database, self._sweeps.wake),
            answers=SweepAnswerService(self.database, comparison, answers, sessions),
        )
        add_SweepServiceServicer_to_server(SweepServicer(services), self._grpc)

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

    async def _keep(self, duty: Callable[[], Coroutine[None, None, None]]) -> None:
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
            watched = self._hub.watched
            if watched:
                with suppress(DatabaseUnavailable):
                    self._hub.check(await self.database.reading(events.last_cursors, watched))

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

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, status)


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
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(settings)
    try:
        await server.start()
        print(f"talweg server listens on {server.address}", flush=True)
        write_ready_file(settings.ready_file, address=server.address)
        await stopping.wait()
        log.info("stops")
    finally:
        await server.stop()
