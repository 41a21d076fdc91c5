"""The services over the wire: conversions, statuses, health, reflection."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)
from sqlalchemy import create_engine, text
from tests.server.calls.test_statuses import details
from tests.server.conftest import Running, Start
from tests.server.samples import point, spec, summary

from talweg.server.parts import SERVICES
from talweg.spec import tasks as spec_tasks
from talweg.v1 import catalog_pb2, jobs_pb2, workers_pb2
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec


async def refused(call: Coroutine[Any, Any, object] | Any) -> tuple[grpc.StatusCode, Any]:
    """Code and google.rpc.Status of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = status_pb2.Status()
    trailing = dict(caught.value.trailing_metadata() or ())
    status.ParseFromString(trailing.get("grpc-status-details-bin", b""))
    if status.code:
        assert status.code == caught.value.code().value[0]
        assert status.message == caught.value.details()
    return caught.value.code(), status


async def submit(running: Running, given: JobSpec | None = None, **more: Any) -> Job:
    request = jobs_pb2.SubmitJobRequest(spec=given or spec(), **more)
    return (await running.jobs.SubmitJob(request)).job


async def claim(running: Running) -> workers_pb2.Lease:
    request = workers_pb2.ClaimJobsRequest(queue="default", worker="w1")
    (assignment,) = (await running.workers.ClaimJobs(request)).assignments
    return assignment.lease


async def test_a_job_from_submission_to_comparison(running: Running) -> None:
    job = await submit(running, spec(loss="huber", tags={"team": "a"}), request_id="r")
    assert job.name.startswith("jobs/")
    assert (job.state, job.attempt, job.last_cursor) == (Job.QUEUED, 0, 1)
    assert job.spec.loss.huber.delta == 1.0
    assert job.create_time.seconds > 1_700_000_000
    assert not job.HasField("start_time")
    assert not job.HasField("outcome")

    request = workers_pb2.ClaimJobsRequest(
        queue="default", worker="w1", capabilities=workers_pb2.Capabilities(devices=["cpu"])
    )
    (assignment,) = (await running.workers.ClaimJobs(request)).assignments
    assert assignment.spec == job.spec
    assert assignment.lease.job == job.name
    assert assignment.lease.attempt == 1
    assert assignment.time_to_live == Duration(seconds=30)

    progress = jobs_pb2.Progress(step=2, total_steps=5, steps_per_second=1.5)
    report = workers_pb2.ReportProgressRequest(
        lease=assignment.lease, sequence=1, events=[point(2, train_loss=1.0)], progress=progress
    )
    answer = await running.workers.ReportProgress(report)
    assert answer.time_to_live == Duration(seconds=30)
    assert not answer.HasField("cancel")
    seen = await running.jobs.GetJob(jobs_pb2.GetJobRequest(name=job.name))
    assert (seen.state, seen.worker, seen.progress) == (Job.RUNNING, "w1", progress)

    await running.jobs.CancelJob(
        jobs_pb2.CancelJobRequest(
            name=job.name, grace_period=Duration(seconds=60), reason="enough"
        )
    )
    report.sequence = 2
    answer = await running.workers.ReportProgress(report)
    assert answer.cancel.reason == "enough"
    assert 50 < answer.cancel.grace_period.seconds <= 60

    last = workers_pb2.ReportProgressRequest(
        sequence=3, events=[point(5, test_mae=4.0)], summaries=[summary("test/mae", 4.0)]
    )
    outcome = Outcome(state=Job.SUCCEEDED, message="done")
    await running.workers.FinishJob(
        workers_pb2.FinishJobRequest(lease=assignment.lease, outcome=outcome, last_report=last)
    )
    run = jobs_pb2.TrackingRun(run_id="abc", complete=True)
    kept = await running.workers.SetTrackingRun(
        workers_pb2.SetTrackingRunRequest(job=job.name, tracking=run)
    )
    assert kept.tracking == run
    ended = await running.jobs.GetJob(jobs_pb2.GetJobRequest(name=job.name))
    assert (ended.state, ended.outcome, ended.tracking) == (Job.SUCCEEDED, outcome, run)
    assert ended.cancel_requested
    assert ended.end_time.ToNanoseconds() >= ended.start_time.ToNanoseconds() > 0

    found = await running.jobs.GetJobMetrics(
        jobs_pb2.GetJobMetricsRequest(name=job.name, metrics=["test/"], include_points=True)
    )
    assert list(found.summaries) == [summary("test/mae", 4.0)]
    assert [dict(each.values) for each in found.points] == [{"test/mae": 4.0}]

    again = await running.jobs.RetryJob(jobs_pb2.RetryJobRequest(name=job.name))
    assert (again.retry_of, again.spec) == (job.name, job.spec)
    compared = await running.jobs.CompareJobs(
        jobs_pb2.CompareJobsRequest(names=[job.name, again.name])
    )
    (group,) = compared.groups
    assert (compared.metric, list(group.labels)) == ("test/mae", ["huber"])
    assert (group.count, group.mean, group.min, group.max) == (1, 4.0, 4.0, 4.0)
    assert (group.succeeded, group.total, group.HasField("sd")) == (1, 2, False)
    assert [row.HasField("value") for row in group.rows] == [True, False]


async def test_a_batch_of_a_thousand_is_taken_fast(running: Running) -> None:
    requests = [
        jobs_pb2.SubmitJobRequest(spec=spec(training={"seed": seed}), request_id=f"r{seed}")
        for seed in range(1000)
    ]
    requests[500].spec.loss.huber.delta = -1.0
    begin = asyncio.get_running_loop().time()
    response = await running.jobs.BatchSubmitJobs(
        jobs_pb2.BatchSubmitJobsRequest(requests=requests)
    )
    # Far above what it takes (0.3 s), for machines that do something else too.
    assert asyncio.get_running_loop().time() - begin < 5
    kinds = [result.WhichOneof("kind") for result in response.results]
    assert kinds == ["job"] * 500 + ["error"] + ["job"] * 499
    assert [r.job.spec.training.seed for r in response.results if r.job.name] == [
        seed for seed in range(1000) if seed != 500
    ]
    info, violations = details(response.results[500].error)
    assert info.reason == "INVALID_SPEC"
    assert [each.field for each in violations] == ["loss.huber.delta"]


async def test_a_large_batchs_answer_fits_into_any_clients_message(running: Running) -> None:
    """The channel takes 4 MiB, as any tool's does."""
    tags = {f"k{number}": "v" * 200 for number in range(50)}
    large = jobs_pb2.SubmitJobRequest(spec=spec(tags=tags))
    few = {"sum": {"terms": [{"loss": {"huber": {"delta": -1}}}] * 19}}
    terms = [{"loss": few}] * 5
    wrong = jobs_pb2.SubmitJobRequest(spec=spec(loss={"sum": {"terms": terms}}))
    response = await running.jobs.BatchSubmitJobs(
        jobs_pb2.BatchSubmitJobsRequest(requests=[large] * 600 + [wrong] * 100)
    )
    *taken, last = response.results
    assert all(result.job.name for result in taken[:600])
    assert not any(result.job.HasField("spec") for result in taken)
    _, violations = details(last.error)
    assert len(violations) > 5
    assert violations[-1].description.startswith("and ")
    found = await running.jobs.GetJob(jobs_pb2.GetJobRequest(name=taken[0].job.name))
    assert found.spec.tags == tags


async def test_a_comparison_that_no_client_would_take_is_refused(running: Running) -> None:
    requests = [
        jobs_pb2.SubmitJobRequest(spec=spec(tags={"t": f"{number:04}" * 50}))
        for number in range(1000)
    ]
    await running.jobs.BatchSubmitJobs(jobs_pb2.BatchSubmitJobsRequest(requests=requests))
    compare = jobs_pb2.CompareJobsRequest(filter="loss = mse", group_by=["tags.t"] * 10)
    response = await running.jobs.CompareJobs(compare)
    assert len(response.groups) == 1000
    compare.group_by.extend(["tags.t"] * 15)
    with pytest.raises(grpc.aio.AioRpcError, match="1,000 groups") as caught:
        await running.jobs.CompareJobs(compare)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_question_starts_the_statistics_and_the_server_ends_them(start: Start) -> None:
    running = await start()
    name = (await submit(running)).name
    compare = jobs_pb2.CompareJobsRequest(names=[name], metric="train/loss")
    plain = await running.jobs.CompareJobs(compare)
    assert not plain.HasField("answer")
    assert running.server.parts.statistics.pid is None
    compare.question.SetInParent()
    answer = (await running.jobs.CompareJobs(compare)).answer
    assert [group.n for group in answer.groups] == [0]
    pid = running.server.parts.statistics.pid
    assert pid is not None
    compare.question.baseline = "mae"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.jobs.CompareJobs(compare)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "question.baseline: found 'mae'; allowed: mse" in str(caught.value.details())
    assert running.server.parts.statistics.pid == pid
    await running.server.stop(0.2)
    assert running.server.parts.statistics.pid is None


async def test_errors_carry_code_reason_and_fields(running: Running) -> None:
    job = await submit(running, request_id="r")
    lease = workers_pb2.Lease(job=job.name, attempt=1, token="t")
    get, retry = running.jobs.GetJob, running.jobs.RetryJob
    cases: list[tuple[Any, grpc.StatusCode, str, list[str]]] = [
        (
            submit(running, spec(loss={"huber": {"delta": -1.0}}, training={"batch_size": 0})),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_SPEC",
            ["loss.huber.delta", "training.batch_size"],
        ),
        (
            submit(running, spec(display_name="x" * 10_000_000)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "SPEC_TOO_LARGE",
            ["spec"],
        ),
        (
            submit(running, spec(loss="mae"), request_id="r"),
            grpc.StatusCode.ALREADY_EXISTS,
            "REQUEST_ID_REUSED",
            ["request_id"],
        ),
        (
            submit(running, spec(loss="mae"), request_id="r", validate_only=True),
            grpc.StatusCode.ALREADY_EXISTS,
            "REQUEST_ID_REUSED",
            ["request_id"],
        ),
        (
            get(jobs_pb2.GetJobRequest(name="jobs/none")),
            grpc.StatusCode.NOT_FOUND,
            "JOB_NOT_FOUND",
            [],
        ),
        (
            get(jobs_pb2.GetJobRequest(name="job 1")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            ["name"],
        ),
        (
            running.jobs.CancelJob(
                jobs_pb2.CancelJobRequest(name=job.name, grace_period=Duration(seconds=10**18))
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            ["grace_period"],
        ),
        (
            running.jobs.ListJobs(jobs_pb2.ListJobsRequest(filter="loss = hubr")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "BAD_FILTER",
            ["filter"],
        ),
        (
            running.jobs.ListJobs(jobs_pb2.ListJobsRequest(page_token="x")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "BAD_PAGE_TOKEN",
            ["page_token"],
        ),
        (
            retry(jobs_pb2.RetryJobRequest(name=job.name)),
            grpc.StatusCode.FAILED_PRECONDITION,
            "JOB_NOT_ENDED",
            [],
        ),
        (
            running.workers.ReportProgress(workers_pb2.ReportProgressRequest(lease=lease)),
            grpc.StatusCode.ABORTED,
            "STALE_LEASE",
            [],
        ),
        (
            running.catalog.ListLosses(catalog_pb2.ListLossesRequest(task="regresion")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            ["task"],
        ),
    ]
    for call, code, reason, fields in cases:
        found, status = await refused(call)
        info, violations = details(status)
        assert (found, info.reason, info.domain) == (code, reason, "talweg")
        assert [violation.field for violation in violations] == fields, reason


async def test_the_streaming_call_has_its_errors_too(running: Running) -> None:
    async def watch(**request: Any) -> None:
        async for _ in running.jobs.WatchJob(jobs_pb2.WatchJobRequest(**request)):
            pass

    code, status = await refused(watch(name="jobs/none"))
    assert (code, details(status)[0].reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    job = await submit(running)
    code, status = await refused(watch(name=job.name, after_cursor=2))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "must be >= 0 and <= 1" in status.message


async def test_validate_only_gives_a_job_without_a_name(running: Running) -> None:
    job = await submit(running, spec(loss={"mse": {"reduction": "sum"}}), validate_only=True)
    assert job.name == ""
    assert job.spec.training.batch_size == 32
    assert [warning.kind for warning in job.warnings] == [jobs_pb2.Warning.REDUCTION_SUM]
    assert not (await running.jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs


async def test_an_unforeseen_error_tells_nothing_but_its_log(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    job = await submit(running)
    with running.server.database.write() as tx:
        tx.connection.execute(text("UPDATE jobs SET spec = X'FF'"))
    with caplog.at_level(logging.ERROR):
        code, status = await refused(running.jobs.GetJob(jobs_pb2.GetJobRequest(name=job.name)))
    assert code == grpc.StatusCode.INTERNAL
    assert not status.details
    assert "JobSpec" not in status.message
    (record,) = [each for each in caplog.records if each.exc_info]
    assert "GetJob" in record.getMessage()
    assert record.exc_info is not None
    assert "DecodeError" in str(record.exc_info[0])


async def test_the_catalogue(running: Running) -> None:
    catalog = running.catalog
    losses = (await catalog.ListLosses(catalog_pb2.ListLossesRequest())).losses
    some = (await catalog.ListLosses(catalog_pb2.ListLossesRequest(task="regression"))).losses
    assert {"huber", "cross_entropy"} <= {loss.name for loss in losses}
    assert {"huber"} <= {loss.name for loss in some} < {loss.name for loss in losses}
    tasks = (await catalog.ListTasks(catalog_pb2.ListTasksRequest())).tasks
    assert [task.name for task in tasks] == [entry.name for entry in spec_tasks()]
    assert (await catalog.ListModels(catalog_pb2.ListModelsRequest())).models
    assert (await catalog.ListDatasets(catalog_pb2.ListDatasetsRequest())).datasets
    assert (await catalog.ListOptimizers(catalog_pb2.ListOptimizersRequest())).optimizers


async def test_a_tool_that_knows_nothing_submits_by_reflection(running: Running) -> None:
    def as_a_tool_does() -> str:
        with grpc.insecure_channel(running.server.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            assert {
                "talweg.v1.JobService",
                "talweg.v1.WorkerService",
                "talweg.v1.ArtifactService",
                "talweg.v1.PredictionService",
                "talweg.v1.CatalogService",
                "grpc.health.v1.Health",
            } <= set(database.get_services())
            pool = descriptor_pool.DescriptorPool(database)
            method = pool.FindServiceByName("talweg.v1.JobService").methods_by_name["SubmitJob"]
            request = message_factory.GetMessageClass(method.input_type)()
            request.MergeFromString(jobs_pb2.SubmitJobRequest(spec=spec()).SerializeToString())
            call = channel.unary_unary(
                f"/{method.containing_service.full_name}/{method.name}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=message_factory.GetMessageClass(
                    method.output_type
                ).FromString,
            )
            response: Any = call(request)
            return str(response.job.name)

    name = await asyncio.to_thread(as_a_tool_does)
    assert (await running.jobs.GetJob(jobs_pb2.GetJobRequest(name=name))).state == Job.QUEUED


async def test_health_follows_the_database(start: Start, postgres_url: str) -> None:
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")

    def sql(*statements: str) -> None:
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    sql("CREATE DATABASE fragile")
    running = await start(database_url=postgres_url.replace("/postgres?", "/fragile?"))
    health = health_pb2_grpc.HealthStub(running.channel)

    async def becomes(status: int) -> None:
        request = health_pb2.HealthCheckRequest(service="talweg.v1.JobService")
        while (await health.Check(request)).status != status:
            await asyncio.sleep(0.05)

    async with asyncio.timeout(360):
        await becomes(health_pb2.HealthCheckResponse.SERVING)
        sql(
            "ALTER DATABASE fragile ALLOW_CONNECTIONS false",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'fragile'",
        )
        await becomes(health_pb2.HealthCheckResponse.NOT_SERVING)
        code, status = await refused(running.jobs.ListJobs(jobs_pb2.ListJobsRequest()))
        assert code == grpc.StatusCode.UNAVAILABLE
        assert details(status)[0].reason == "DATABASE_UNAVAILABLE"
        sql("ALTER DATABASE fragile ALLOW_CONNECTIONS true")
        await becomes(health_pb2.HealthCheckResponse.SERVING)
        await running.jobs.ListJobs(jobs_pb2.ListJobsRequest())

        # It answers, and takes no writes.
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'fragile'"
        sql("ALTER DATABASE fragile SET default_transaction_read_only = on", end)
        await becomes(health_pb2.HealthCheckResponse.NOT_SERVING)
        await running.jobs.ListJobs(jobs_pb2.ListJobsRequest())
        code, status = await refused(submit(running))
        assert code == grpc.StatusCode.UNAVAILABLE
        assert details(status)[0].reason == "DATABASE_UNAVAILABLE"
        sql("ALTER DATABASE fragile RESET default_transaction_read_only", end)
        await becomes(health_pb2.HealthCheckResponse.SERVING)
        await submit(running)
    engine.dispose()


async def test_health_of_all_services_is_listed(running: Running) -> None:
    health = health_pb2_grpc.HealthStub(running.channel)
    statuses = (await health.List(health_pb2.HealthListRequest())).statuses
    assert set(statuses) == {"", *SERVICES}
    assert {each.status for each in statuses.values()} == {health_pb2.HealthCheckResponse.SERVING}


async def reflected(
    running: Running, version: str, requests: list[ServerReflectionRequest]
) -> list[ServerReflectionResponse]:
    ask = running.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    return [response async for response in ask(iter(requests))]


def reflected_files(response: ServerReflectionResponse) -> dict[str, FileDescriptorProto]:
    contents = response.file_descriptor_response.file_descriptor_proto
    return {file.name: file for file in map(FileDescriptorProto.FromString, contents)}


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_tools_of_either_version_of_reflection_are_answered(
    running: Running, version: str
) -> None:
    (listed,) = await reflected(running, version, [ServerReflectionRequest(list_services="")])
    names = [service.name for service in listed.list_services_response.service]
    assert {"talweg.v1.JobService", "grpc.reflection.v1.ServerReflection"} <= set(names)
    requests = [ServerReflectionRequest(file_containing_symbol=name) for name in names]
    for name, response in zip(names, await reflected(running, version, requests), strict=True):
        described = {
            f"{file.package}.{service.name}"
            for file in reflected_files(response).values()
            for service in file.service
        }
        # Tools that list methods ask for each service that is listed.
        assert name in described


async def test_reflection_finds_rpcs_by_their_names(running: Running) -> None:
    method, wrong = await reflected(
        running,
        "v1",
        [
            ServerReflectionRequest(file_containing_symbol=f"talweg.v1.JobService.{name}")
            for name in ("GetJob", "NoSuchRpc")
        ],
    )
    assert "talweg/v1/jobs.proto" in reflected_files(method)
    assert wrong.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
