"""The client of Talweg: submit training jobs and sweeps, follow them, compare them.

    from talweg.client import Client

    with Client() as client:
        job = client.submit("job.yaml")
        print(job.result().metrics["test/mae"])

`AsyncClient` is the same for asyncio. Specs, events, outcomes and catalogue entries are the
messages of `talweg.v1`.
"""

import os

from talweg.client._client import Client
from talweg.client._errors import (
    AlreadyExists,
    BatchError,
    FailedPrecondition,
    InvalidRequest,
    InvalidSpec,
    JobFailed,
    MissingExtra,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServerError,
    TalwegError,
    Unavailable,
    WaitTimeout,
)
from talweg.client._files import SpecLike, read_jobs
from talweg.client._jobs import Job
from talweg.client._links import compare_url
from talweg.client._values import JobMetrics, JobResult, JobState, RegisteredModel
from talweg.client.aio import (
    AsyncClient,
    AsyncComparison,
    AsyncJob,
    AsyncSession,
    AsyncStoredDataset,
    AsyncSweep,
    AsyncSweepAnswer,
)
from talweg.client.comparisons._answer import Answer, Verdict
from talweg.client.comparisons._comparison import Comparison
from talweg.client.comparisons._groups import ComparisonGroup, ComparisonRow, Goal
from talweg.client.data import StoredDataset
from talweg.client.results._artifacts import Artifact
from talweg.client.sessions._handle import Session
from talweg.client.sessions._values import ProposalAnswer, SessionDecision
from talweg.client.sweeps._answer import SweepAnswer
from talweg.client.sweeps._files import SweepLike
from talweg.client.sweeps._sweeps import Sweep
from talweg.client.sweeps._values import SweepState, Trial, TrialState
from talweg.spec import Violation

# gRPC's library notes on standard error what a peer has sent, as it is and before any token was
# asked for: lines and controls of a terminal in the log of a server, and a line in a notebook for
# each connection that was idle for long. It reads this when it is loaded, which is at the first
# connection.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

__all__ = [
    "AlreadyExists",
    "Answer",
    "Artifact",
    "AsyncClient",
    "AsyncComparison",
    "AsyncJob",
    "AsyncSession",
    "AsyncStoredDataset",
    "AsyncSweep",
    "AsyncSweepAnswer",
    "BatchError",
    "Client",
    "Comparison",
    "ComparisonGroup",
    "ComparisonRow",
    "FailedPrecondition",
    "Goal",
    "InvalidRequest",
    "InvalidSpec",
    "Job",
    "JobFailed",
    "JobMetrics",
    "JobResult",
    "JobState",
    "MissingExtra",
    "NotFound",
    "PermissionDenied",
    "ProposalAnswer",
    "RegisteredModel",
    "ResourceExhausted",
    "ServerError",
    "Session",
    "SessionDecision",
    "SpecLike",
    "StoredDataset",
    "Sweep",
    "SweepAnswer",
    "SweepLike",
    "SweepState",
    "TalwegError",
    "Trial",
    "TrialState",
    "Unavailable",
    "Verdict",
    "Violation",
    "WaitTimeout",
    "compare_url",
    "read_jobs",
]
