"""The client: the jobs and the catalogue of a server, in Python."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, overload

from talweg.client import _address
from talweg.client._connection import Connection
from talweg.client._errors import BatchError, TalwegError, Unavailable, WaitTimeout, from_status
from talweg.client._files import SpecLike, read_jobs, to_spec
from talweg.client._handle import Seconds, to_seconds
from talweg.client._jobs import Job, listed_jobs, read_metrics
from talweg.client._submissions import chunks, submission
from talweg.client._watchers import Watchers
from talweg.client.catalogue._catalogue import CatalogueClient
from talweg.client.comparisons._answer import question
from talweg.client.comparisons._comparison import Comparison
from talweg.client.data import DataClient
from talweg.client.data._inputs import time_to_read
from talweg.client.identity._client import IdentityClient
from talweg.client.notebooks.progress import live
from talweg.client.sessions._client import SessionClient
from talweg.client.sweeps._client import SweepClient
from talweg.spec import job_name
from talweg.v1 import jobs_pb2, system_pb2

if TYPE_CHECKING:
    from types import TracebackType


class Client(CatalogueClient, DataClient, IdentityClient, SweepClient, SessionClient):
    """A connection to a Talweg server; a thread-safe context manager.

    Calls are retried while the server is unavailable, up to the timeout. Requests that the server
    refused are not retried.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        project: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        tls: bool = False,
        timeout: Seconds = timedelta(seconds=30),
        patience: Seconds = timedelta(minutes=10),
    ) -> None:
        """Find the server; nothing is sent before the first call.

        Args:
            address: HOST:PORT. Default: TALWEG_ADDRESS, then the local stack started by
                `talweg up`, then the server of `talweg login`.
            token: Shown to the server. Default: TALWEG_TOKEN or TALWEG_TOKEN_FILE, then what
                `talweg login` or the local stack has kept.
            project: The project to act in, for a token of all projects. Default: TALWEG_PROJECT.
            ca_file: The CA of the server's certificate, in PEM; calls are encrypted. Default:
                TALWEG_CA_FILE.
            tls: Encrypt calls, and trust the CAs of the system. Default: TALWEG_TLS.
            timeout: The time limit of a call including retries. For a server that has never
                answered the limit is 5 s.
            patience: How long watches and waits retry while the server is away.

        Raises:
            ValueError: The address is not HOST:PORT, a token or a project cannot be one, the
                token would travel to another machine without encryption, or a duration is none.
            OSError: The file of the token, or of the CA of its server, cannot be read.
            Unavailable: No address is known.
        """
        self._server = _address.find(
            address, token=token, project=project, ca_file=ca_file, tls=tls
        )
        self._connection = Connection(self._server, timeout=timeout, patience=patience)

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._server.address

    def close(self) -> None:
        """Close the connection; jobs continue."""
        self._connection.close()

    def __enter__(self) -> "Client":
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        """Close the connection."""
        self.close()

    def submit(
        self, spec: SpecLike, *, request_id: str | None = None, validate_only: bool = False
    ) -> Job:
        """Submit a job. A data file that it names is uploaded first.

        Args:
            spec: A JobSpec, its JSON form, or the path of a job file.
            request_id: An idempotency key: the same spec with the same id returns the same job.
                Generated if absent, so that retries are safe.
            validate_only: Only check and complete the spec: the returned job has no name. A data
                file is uploaded all the same, since the checks need its columns.

        Raises:
            InvalidSpec: The spec is invalid; with all violations.
            AlreadyExists: The request id was used for another spec.
            OSError: The job file cannot be read.
            TalwegError: Another error of the server.
        """
        whole = self._inputs().resolved(self._connection.work(to_spec, spec))
        request = submission(whole, request_id, validate_only)
        response = self._connection.call(
            self._connection.jobs.SubmitJob, request, at_least=time_to_read([whole])
        )
        return Job(self._connection, response.job)

    @overload
    def submit_many(
        self,
        specs: Iterable[SpecLike] | str | os.PathLike[str],
        *,
        validate_only: bool = False,
        return_errors: Literal[False] = False,
    ) -> list[Job]: ...

    @overload
    def submit_many(
        self,
        specs: Iterable[SpecLike] | str | os.PathLike[str],
        *,
        validate_only: bool = False,
        return_errors: Literal[True],
    ) -> list[Job | TalwegError]: ...

    def submit_many(
        self,
        specs: Iterable[SpecLike] | str | os.PathLike[str],
        *,
        validate_only: bool = False,
        return_errors: bool = False,
    ) -> list[Job] | list[Job | TalwegError]:
        """Submit many jobs in as few calls as possible. A refused job does not stop the others.

        Args:
            specs: The specs, or the path of a batch file.
            validate_only: Only check and complete the specs.
            return_errors: Return errors in place of refused jobs instead of raising.

        Returns:
            A job for each spec, in order.

        Raises:
            BatchError: Specs were refused; its `results` include the accepted jobs.
            TypeError: `specs` is a single spec.
            OSError: A file cannot be read.
            TalwegError: The first call failed as a whole.
        """
        if isinstance(specs, (str, os.PathLike)):
            specs = self._connection.work(read_jobs, specs)
        elif isinstance(specs, Mapping):
            # Iterating it would yield field names, each of which could be a path.
            raise TypeError("submit_many takes a list of specs, but got a single one: use submit")
        results: dict[int, Job | TalwegError] = {}
        requests: dict[int, jobs_pb2.SubmitJobRequest] = {}
        num_specs, inputs = 0, self._inputs()
        for index, spec in enumerate(specs):
            num_specs += 1
            try:
                whole = inputs.resolved(self._connection.work(to_spec, spec))
                requests[index] = submission(whole, None, validate_only)
            except TalwegError as error:
                results[index] = error
        for chunk in chunks(requests):
            try:
                results |= self._submit_chunk(chunk)
            except TalwegError as error:
                if not any(isinstance(result, Job) for result in results.values()):
                    raise
                # Jobs of an earlier call were accepted; their names must not be lost.
                results |= dict.fromkeys(chunk, error)
        ordered = [results[index] for index in range(num_specs)]
        jobs = [result for result in ordered if isinstance(result, Job)]
        if return_errors:
            return ordered
        if len(jobs) < len(ordered):
            raise BatchError(ordered)
        return jobs

    def job(self, name: str) -> Job:
        """Return the handle of a job.

        Args:
            name: ``jobs/{id}``, or the id alone.

        Raises:
            NotFound: The job does not exist.
            ValueError: This is not the name of a job.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.GetJobRequest(name=job_name(name.removeprefix("jobs/")))
        return Job(self._connection, self._connection.call(self._connection.jobs.GetJob, request))

    def jobs(
        self, *, filter: str = "", order_by: str = "", limit: int | None = None
    ) -> Iterator[Job]:
        """Yield jobs, page by page.

        Args:
            filter: Such as ``(state = RUNNING OR state = QUEUED) AND loss = "huber"``; fields are
                name (``name = "jobs/k3*"`` matches a prefix), state, loss, task, experiment,
                worker, tags.KEY, create_time and metrics.NAME (``metrics.test/mae < 50``).
            order_by: Such as ``priority desc, create_time``; the newest first if empty.
            limit: The largest number of jobs.

        Raises:
            InvalidRequest: The filter or the order is invalid.
            TalwegError: Another error of the server.
        """
        return listed_jobs(self._connection, filter, order_by, limit)

    def wait(self, jobs: Iterable[Job], timeout: Seconds | None = None) -> list[Job]:
        """Wait until all jobs have ended, in whatever state; in a notebook with progress bars.

        Args:
            jobs: The jobs.
            timeout: A timedelta, or seconds; no limit if None.

        Returns:
            The jobs, up to date.

        Raises:
            WaitTimeout: Some have not ended by then. They continue.
            TalwegError: As `Job.watch`.
        """
        waited = list(jobs)
        seconds = to_seconds(timeout)
        until = None if seconds is None else time.monotonic() + seconds
        still_open = [job for job in waited if job.outcome is None]
        try:
            with Watchers(still_open, only_new=True, until=until) as watchers:
                with live(waited) as display:
                    for came in watchers.events():
                        if came.event is not None:
                            display.take(came.job, came.event)
        except WaitTimeout as error:
            num_open = sum(job.outcome is None for job in still_open)
            raise WaitTimeout(
                f"{num_open} of {len(waited)} jobs have not ended after {seconds:g} s"
            ) from error
        for job in still_open:
            job.refresh()
        return waited

    def compare(
        self,
        jobs: Iterable[Job | str] | Job | str | None = None,
        *,
        filter: str = "",
        metric: str | None = None,
        group_by: Sequence[str] = ("loss",),
        statistics: bool = False,
        baseline: str | None = None,
        margin: float | str | None = None,
    ) -> Comparison:
        """Compare jobs by a metric, from the record of the server.

        Args:
            jobs: Handles, names or ids; None to use the filter.
            filter: As in `jobs`.
            metric: Such as ``val/mae``; the first test metric of the task if None.
            group_by: Paths in the spec, such as ``loss`` or ``optimizer.adamw.learning_rate``.
            statistics: Whether to compute intervals; so it does with a baseline.
            baseline: The group that the others are compared with, such as ``mse``.
            margin: A difference that does not matter, as a number or as ``"1%"`` of the
                baseline's mean.

        Raises:
            ValueError: Neither jobs nor a filter is given, or both; or the margin is none.
            TalwegError: An error of the server.
        """
        if (jobs is None) == (not filter):
            raise ValueError("compare needs either jobs or a filter")
        # One is meant, not its letters.
        jobs = [jobs] if isinstance(jobs, Job | str) else jobs
        group_by = [group_by] if isinstance(group_by, str) else group_by
        names = [
            job.name if isinstance(job, Job) else job_name(job.removeprefix("jobs/"))
            for job in jobs or ()
        ]
        if jobs is not None and not names:
            raise ValueError("compare needs at least 1 job, but got 0")
        request = jobs_pb2.CompareJobsRequest(
            names=names, filter=filter, metric=metric or "", group_by=list(group_by)
        )
        if statistics or baseline or margin is not None:
            request.question.CopyFrom(question(baseline, margin))
        response = self._connection.call(self._connection.jobs.CompareJobs, request)
        return Comparison.of(response, group_by, self._points)

    def status(self) -> system_pb2.GetStatusResponse:
        """Return what works, what does not, and what to do about it.

        Raises:
            TalwegError: An error of the server.
        """
        return self._connection.call(
            self._connection.system.GetStatus, system_pb2.GetStatusRequest()
        )

    def workers(self) -> list[system_pb2.WorkerInfo]:
        """Return the workers that answer, with their queues and jobs.

        Raises:
            Unavailable: The broker, by which workers are asked, is unreachable.
            TalwegError: Another error of the server.
        """
        method = self._connection.system.ListWorkers
        response = self._connection.call(method, system_pb2.ListWorkersRequest())
        if response.problem:
            raise Unavailable(response.problem, reason="BROKER_UNAVAILABLE")
        return list(response.workers)

    def collect(
        self,
        older_than: timedelta,
        *,
        keep: Literal["best", "last", "none"] = "best",
        filter: str = "",
        dry_run: bool = False,
    ) -> jobs_pb2.CollectJobsResponse:
        """Delete jobs that ended long ago, up to 1,000 at once; those that others need stay.

        Args:
            older_than: How long ago they ended.
            keep: Which of the SUCCEEDED jobs of each experiment stays: the best by the main
                metric, the last, or none.
            filter: As in `jobs`.
            dry_run: Delete none, and return those that would be.

        Raises:
            InvalidRequest: The filter or the age is invalid.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.CollectJobsRequest(
            keep=jobs_pb2.CollectJobsRequest.Keep.Value(keep.upper()),
            filter=filter,
            validate_only=dry_run,
        )
        request.older_than.FromTimedelta(older_than)
        return self._connection.call(self._connection.jobs.CollectJobs, request)

    def collect_folders(
        self, older_than: timedelta, *, dry_run: bool = False
    ) -> jobs_pb2.CollectJobsResponse:
        """Remove folders of the blob store whose jobs the server does not know, up to 1,000.

        Only for a blob store that no other server's jobs use: those are unknown to this one.

        Args:
            older_than: How long ago a file in them was last written.
            dry_run: Remove none, and return those that would be.

        Raises:
            InvalidRequest: The age is invalid.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.CollectJobsRequest(unknown_folders=True, validate_only=dry_run)
        request.older_than.FromTimedelta(older_than)
        return self._connection.call(self._connection.jobs.CollectJobs, request)

    def _points(self, job: str, metric: str) -> list[tuple[int, float]]:
        return read_metrics(self._connection, job, [metric], points=True).series(metric)

    def _submit_chunk(
        self, chunk: dict[int, jobs_pb2.SubmitJobRequest]
    ) -> dict[int, Job | TalwegError]:
        request = jobs_pb2.BatchSubmitJobsRequest(requests=chunk.values())
        response = self._connection.call(
            self._connection.jobs.BatchSubmitJobs,
            request,
            at_least=time_to_read(each.spec for each in chunk.values()),
        )
        results: dict[int, Job | TalwegError] = {}
        for index, result in zip(chunk, response.results, strict=True):
            if result.HasField("job"):
                results[index] = job = Job(self._connection, result.job)
                if job.name and not result.job.HasField("spec"):
                    # Left out if the response would have become too large.
                    job.refresh()
            else:
                results[index] = from_status(result.error, address=self.address)
        return results
