"""The one table of what each role may call. A test walks every method and requires an entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from talweg.v1.identity_pb2 import Role as RoleMessage


class Role(IntEnum):
    """What the holder of a token may do; the numbers are those of `talweg.v1.Role`."""

    VIEWER = RoleMessage.VIEWER
    SUBMITTER = RoleMessage.SUBMITTER
    ADMIN = RoleMessage.ADMIN
    WORKER = RoleMessage.WORKER


_PEOPLE = frozenset({Role.VIEWER, Role.SUBMITTER, Role.ADMIN})
_SUBMITTERS = frozenset({Role.SUBMITTER, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})
_WORKERS = frozenset({Role.WORKER})


@dataclass(frozen=True)
class Access:
    """Who may call a method."""

    roles: frozenset[Role] = frozenset()
    """Those who may."""

    is_public: bool = False
    """Callers without a token may, too."""

    is_audited: bool = False
    """Each call of a known token is written to the audit log, also one that is refused."""

    weight: int = 1
    """How many calls it counts for, where calls a second are limited."""


_PUBLIC = Access(frozenset(Role), is_public=True)
_ANYBODY = Access(frozenset(Role))
_READ = Access(_PEOPLE)
_READ_OR_DELIVER = Access(_PEOPLE | _WORKERS)
_CHANGE = Access(_SUBMITTERS, is_audited=True)
_USE = Access(_SUBMITTERS)
_ADMINISTER = Access(_ADMINS, is_audited=True)
_LOOK_AFTER = Access(_ADMINS)
_WORK = Access(_WORKERS)
# They take as much of the server's time as many other calls.
_CHANGE_MANY = Access(_SUBMITTERS, is_audited=True, weight=20)
_CREATE_SWEEP = Access(_SUBMITTERS, is_audited=True, weight=5)
_COMPUTE = Access(_PEOPLE, weight=5)


def _of(service: str, methods: Mapping[str, Access]) -> dict[str, Access]:
    return {f"/{service}/{name}": access for name, access in methods.items()}


METHODS: Mapping[str, Access] = {
    **_of(
        "talweg.v1.JobService",
        {
            "SubmitJob": _CHANGE,
            "BatchSubmitJobs": _CHANGE_MANY,
            # Delivery looks whether a job still exists.
            "GetJob": _READ_OR_DELIVER,
            "ListJobs": _READ,
            "WatchJob": _READ_OR_DELIVER,
            "GetJobMetrics": _READ,
            "GetJobLogs": _READ,
            "CompareJobs": _COMPUTE,
            "CancelJob": _CHANGE,
            "PauseJob": _CHANGE,
            "ResumeJob": _CHANGE,
            "RetryJob": _CHANGE,
            "DeleteJob": _CHANGE,
            "CollectJobs": _ADMINISTER,
        },
    ),
    **_of(
        "talweg.v1.SweepService",
        {
            "CreateSweep": _CREATE_SWEEP,
            # Delivery writes the summary of a sweep.
            "GetSweep": _READ_OR_DELIVER,
            "ListSweeps": _READ,
            "ListTrials": _READ_OR_DELIVER,
            "WatchSweep": _READ,
            "UpdateSweep": _CHANGE,
            "PauseSweep": _CHANGE,
            "ResumeSweep": _CHANGE,
            "CancelSweep": _CHANGE,
            "RetryTrials": _CHANGE,
            "AnswerSweep": _READ_OR_DELIVER,
        },
    ),
    **_of(
        "talweg.v1.SessionService",
        {"GetSession": _READ, "ListSessions": _READ, "CloseSession": _CHANGE},
    ),
    **_of(
        "talweg.v1.StoredDatasetService",
        {
            "UploadStoredDataset": _CHANGE,
            "GetUpload": _USE,
            "GetStoredDataset": _READ,
            "ListStoredDatasets": _READ,
            "DeleteStoredDataset": _CHANGE,
        },
    ),
    **_of("talweg.v1.ArtifactService", {"ListArtifacts": _READ, "DownloadArtifact": _READ}),
    # It takes a worker's time.
    **_of("talweg.v1.PredictionService", {"Predict": _USE}),
    **_of(
        "talweg.v1.CatalogService",
        {
            "ListLosses": _READ,
            "ListTasks": _READ,
            "ListModels": _READ,
            "ListDatasets": _READ,
            "ListOptimizers": _READ,
            "RecommendLoss": _READ,
        },
    ),
    **_of("talweg.v1.SystemService", {"GetStatus": _READ, "ListWorkers": _READ}),
    **_of(
        "talweg.v1.WorkerService",
        {
            "ClaimJobs": _WORK,
            "ReportProgress": _WORK,
            "FinishJob": _WORK,
            "SetTrackingRun": _WORK,
            "ReportDelivery": _WORK,
            "ListRemovals": _WORK,
            "FinishRemoval": _WORK,
            "ClaimSweepRuns": _WORK,
            "SetSweepRun": _WORK,
            "ReportPlugins": _WORK,
            "TakePrediction": _WORK,
            "FinishPrediction": _WORK,
        },
    ),
    **_of(
        "talweg.v1.IdentityService",
        {
            "GetCaller": _ANYBODY,
            "CreateToken": _ADMINISTER,
            "ListTokens": _LOOK_AFTER,
            "RevokeToken": _ADMINISTER,
            "ListProjects": _LOOK_AFTER,
            "UpdateProject": _ADMINISTER,
            "ListAuditEntries": _LOOK_AFTER,
        },
    ),
    # Load balancers ask it, and have no token.
    **_of("grpc.health.v1.Health", {"Check": _PUBLIC, "Watch": _PUBLIC, "List": _PUBLIC}),
    # The messages are published anyway, and few tools can send a token with it.
    **_of("grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": _PUBLIC}),
    **_of("grpc.reflection.v1alpha.ServerReflection", {"ServerReflectionInfo": _PUBLIC}),
}
"""By the full name of the method, as it stands on the wire."""
