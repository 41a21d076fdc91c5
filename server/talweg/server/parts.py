"""The server's parts, put together: what they share, and which of them answer calls."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path

import grpc

from talweg.blobs import Blobs
from talweg.server.broker import celery_app
from talweg.server.events.hub import Hub
from talweg.server.events.stream import EventStream
from talweg.server.identity.configured import make_authenticator
from talweg.server.queueing.dispatcher import Dispatcher
from talweg.server.queueing.predicting import PredictionControl
from talweg.server.queueing.presence import Presence
from talweg.server.queueing.wake_ups import WakeUps
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
from talweg.server.services.sweeps.running.runner import SweepRunner
from talweg.server.services.tokens import TokenService
from talweg.server.services.watching import WatchLimit, WatchService
from talweg.server.settings import Settings
from talweg.server.store.record.database import Changes, Database
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

Duty = Callable[[], Coroutine[None, None, None]]


class Parts:
    """The services of a server and what they share. Must be made on the event loop that serves."""

    def __init__(self, settings: Settings) -> None:
        """Put the parts together; connect to nothing yet.

        Args:
            settings: What to serve from.

        Raises:
            BadSetting: A URL is of no kind that is supported, or a file of secrets cannot be used.
        """
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.hub = Hub()
        self._stream = EventStream(settings.broker_url, self.hub.tell)
        self.database = Database(settings.database_url, on_commit=self._committed)
        """The record."""
        self.statistics = StatisticsProcess()
        """Computes the statistics of comparisons."""
        self._token_key, self.authenticator = make_authenticator(settings, self.database)
        self.audit = AuditLog(self.database)
        self._make_queueing()
        self._make_data()
        self._make_sweeps()

    def _make_queueing(self) -> None:
        settings = self._settings
        celery = celery_app(settings.broker_url)
        self.dispatcher = Dispatcher(self.database, WakeUps(settings.broker_url, celery))
        self.presence = Presence(celery, self.dispatcher)
        self._predicting = PredictionControl(celery_app(settings.broker_url))
        self._reaper = Reaper(
            self.database, max_lost_attempts=settings.max_lost_attempts, lease=settings.lease
        )
        self._collection = CollectionService(self.database, keep_days=settings.keep_days)

    def _own_folders(self) -> Sequence[Path]:
        """Return the folders of blob store and uploads that are on this machine."""
        with suppress(ImportError, ValueError):
            if folder := Blobs(self._settings.blobs).folder:
                return (folder, Path(self._settings.uploads))
        return (Path(self._settings.uploads),)

    def _make_data(self) -> None:
        settings = self._settings
        self._artifacts = ArtifactService(self.database, settings.blobs)
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

    def _make_sweeps(self) -> None:
        settings = self._settings
        self._sessions = SessionService(self.database, self.statistics)
        self.submission = SubmissionService(
            self.database, self._sources, self._sessions.take_looks
        )
        self._search = SearchProcess()
        asking = AskingService(self._search)
        self._sweeps = SweepRunner(self.database, self.submission, asking, self.statistics)
        self.watches = WatchLimit(settings.max_watches)
        self._sweep_lookup = SweepService(
            self.database, self.watches, tracking_uri=settings.public_tracking_uri
        )

    @property
    def duties(self) -> Sequence[Duty]:
        """What goes on all the time, each of which can begin again."""
        return (
            self.dispatcher.run,
            self.presence.run,
            self._reaper.run,
            self._sweeps.run,
            self._collection.run,
            self._staging.clean,
            self._storage.run,
            self.audit.run,
            *self.authenticator.duties,
            self._stream.write,
            self._stream.read,
        )

    def end_watches(self) -> None:
        """End all watches, whose callers come back to another server."""
        self.hub.close()
        self._sweep_lookup.close()

    async def close(self) -> None:
        """Close everything; no call and no duty runs any more."""
        await self.audit.flush()
        await self._sources.close()
        await self.statistics.close()
        await self._search.close()
        await self._stream.close()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.submission.close()
        self._staging.close()
        self._artifacts.close()
        self._predicting.close()
        self.presence.close()
        self.dispatcher.close()
        self.database.close()

    def _committed(self, changes: Changes) -> None:
        # In the writing thread.
        with suppress(RuntimeError):  # The loop has ended: nobody is left to be told.
            self._loop.call_soon_threadsafe(self._tell, changes)

    def _tell(self, changes: Changes) -> None:
        for job, new in changes.events.items():
            self.hub.tell(job, new)
            self._stream.offer(job, new)
        if any(event.HasField("finished") for new in changes.events.values() for event in new):
            self._sweeps.wake()
        if changes.queues:
            self.dispatcher.wake()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Have a server answer the calls of all services."""
        database = self.database
        deletion = DeletionService(database)
        comparison, answers = ComparisonService(database), AnswerService(self.statistics)
        add_JobServiceServicer_to_server(
            JobServicer(
                JobServices(
                    submission=self.submission,
                    jobs=JobService(
                        database,
                        self.presence,
                        tracking_uri=self._settings.public_tracking_uri,
                    ),
                    watching=WatchService(database, self.hub, self.watches),
                    comparison=comparison,
                    answers=answers,
                    cancellation=CancellationService(database),
                    pausing=PauseService(database),
                    deletion=deletion,
                    collection=self._collection,
                    folders=FolderService(database, self._settings.blobs),
                )
            ),
            server,
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
            server,
        )
        add_PredictionServiceServicer_to_server(PredictionServicer(predictions), server)
        add_SystemServiceServicer_to_server(
            SystemServicer(
                StatusService(database, self.presence, tracking, folders=self._own_folders())
            ),
            server,
        )
        self._add_stored_datasets(server)
        self._add_sweeps(server, comparison, answers)
        add_ArtifactServiceServicer_to_server(ArtifactServicer(self._artifacts), server)
        add_CatalogServiceServicer_to_server(CatalogServicer(plugins), server)
        tokens = TokenService(database, self.authenticator, key=self._token_key)
        identity = IdentityServicer(tokens, QuotaService(database), self.audit)
        add_IdentityServiceServicer_to_server(identity, server)

    def _add_stored_datasets(self, server: grpc.aio.Server) -> None:
        services = DatasetServices(
            upload=self._uploads,
            lookup=LookupService(self.database),
            deletion=DatasetDeletionService(self.database, self._storage),
        )
        add_StoredDatasetServiceServicer_to_server(StoredDatasetServicer(services), server)

    def _add_sweeps(
        self, server: grpc.aio.Server, comparison: ComparisonService, answers: AnswerService
    ) -> None:
        sessions = self._sessions
        add_SessionServiceServicer_to_server(
            SessionServicer(sessions, ClosingService(self.database, sessions)), server
        )
        services = SweepServices(
            creation=CreationService(self.database, self.submission, self._sweeps.wake),
            difference=DifferenceService(self.database),
            sweeps=self._sweep_lookup,
            control=SweepControlService(self.database, self._sweeps.wake),
            answers=SweepAnswerService(self.database, comparison, answers, sessions),
        )
        add_SweepServiceServicer_to_server(SweepServicer(services), server)
