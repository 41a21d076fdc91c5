"""Quotas: what is beyond is refused or waits, and says which quota and how much."""

from typing import Any

import grpc
from sqlalchemy import update as update_of
from tests.server.identity.teams import Metadata, Teams, refusal
from tests.server.samples import spec
from tests.server.stored_datasets.parts import houses
from tests.server.sweeps.sweeping import sweep_spec

from talweg.server.store import jobs
from talweg.server.store.identity.gpu_use import PERIOD_DAYS
from talweg.server.store.record.clock import SECOND
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.schema import attempts, gpu_use
from talweg.v1 import identity_pb2 as pb
from talweg.v1 import jobs_pb2, sweeps_pb2, workers_pb2
from talweg.v1.identity_pb2_grpc import IdentityServiceStub


async def update(teams: Teams, name: str, **quotas: int) -> pb.Project:
    stub: Any = IdentityServiceStub(teams.running.channel)
    request = pb.UpdateProjectRequest(name=name, quotas=pb.Quotas(**quotas))
    project: pb.Project = await stub.UpdateProject(request, metadata=teams.admin)
    return project


async def claim(teams: Teams, limit: int = 8) -> list[str]:
    request = workers_pb2.ClaimJobsRequest(queue="default", worker="w", limit=limit)
    answer = await teams.running.workers.ClaimJobs(request, metadata=teams.worker)
    return [each.lease.job for each in answer.assignments]


async def test_jobs_beyond_the_quota_are_refused(teams: Teams) -> None:
    ann = await teams.token(pb.Role.SUBMITTER, "a")
    bob = await teams.token(pb.Role.SUBMITTER, "b")
    await update(teams, "a", max_open_jobs=2)
    one = await teams.submit(ann)
    requests = [jobs_pb2.SubmitJobRequest(spec=spec()) for _ in range(3)]
    batch = await teams.running.jobs.BatchSubmitJobs(
        jobs_pb2.BatchSubmitJobsRequest(requests=requests), metadata=ann
    )
    # Each for itself: what there is room for is taken.
    assert [each.HasField("job") for each in batch.results] == [True, False, False]
    code, said = await refusal(teams.submit(ann))
    assert code == "RESOURCE_EXHAUSTED"
    assert "project 'a' may have 2 jobs that have not ended, and has 2" in said
    # The other project has no bound.
    assert await teams.submit(bob)
    cancel = jobs_pb2.CancelJobRequest(name=one)
    await teams.running.jobs.CancelJob(cancel, metadata=ann)
    assert await teams.submit(ann)


async def test_a_sweep_without_room_says_for_what_it_waits(teams: Teams) -> None:
    ann = await teams.token(pb.Role.SUBMITTER, "a")
    await update(teams, "a", max_open_jobs=0)
    create = sweeps_pb2.CreateSweepRequest(spec=sweep_spec())
    sweep = (await teams.sweeps.CreateSweep(create, metadata=ann)).sweep
    get = sweeps_pb2.GetSweepRequest(name=sweep.name)
    now = await teams.sweeps.GetSweep(get, metadata=ann)
    assert now.message.startswith("waits: project 'a' may have 0 jobs that have not ended")
    await update(teams, "a")
    now = await teams.sweeps.GetSweep(get, metadata=ann)
    assert now.message == "created"


async def test_running_jobs_beyond_the_quota_wait_and_say_so(teams: Teams) -> None:
    ann = await teams.token(pb.Role.SUBMITTER, "a")
    bob = await teams.token(pb.Role.SUBMITTER, "b")
    await update(teams, "a", max_running_jobs=2)
    of_ann = [await teams.submit(ann) for _ in range(4)]
    of_bob = [await teams.submit(bob) for _ in range(2)]
    # One claim takes two of a's in turn with b's, and passes by the others.
    assert await claim(teams) == [of_ann[0], of_bob[0], of_ann[1], of_bob[1]]
    assert await claim(teams) == []
    waiting = await teams.running.jobs.GetJob(jobs_pb2.GetJobRequest(name=of_ann[2]), metadata=ann)
    assert waiting.waiting_reason == "project 'a' runs 2 jobs, as many as it may at once"
    project = await update(teams, "a", max_running_jobs=3)
    assert (project.open_jobs, project.running_jobs) == (4, 2)
    assert await claim(teams) == [of_ann[2]]


async def end(teams: Teams, lease: workers_pb2.Lease) -> None:
    outcome = jobs_pb2.Outcome(state=jobs_pb2.Job.SUCCEEDED)
    request = workers_pb2.FinishJobRequest(lease=lease, outcome=outcome)
    await teams.running.workers.FinishJob(request, metadata=teams.worker)


async def began(teams: Teams, job: str, *, hours_ago: float) -> None:
    """Let an attempt have begun earlier."""

    def change(tx: Transaction) -> None:
        row = jobs.get(tx.connection, job.removeprefix("jobs/"))
        early = tx.now - round(hours_ago * 3600 * SECOND)
        tx.connection.execute(
            update_of(attempts).where(attempts.c.job == row.seq).values(start_time=early)
        )

    await teams.running.server.database.writing(change)


async def test_gpu_hours_beyond_the_quota_wait_and_say_so(teams: Teams) -> None:
    ann = await teams.token(pb.Role.SUBMITTER, "a")
    bob = await teams.token(pb.Role.SUBMITTER, "b")
    await update(teams, "a", max_gpu_hours=12)

    async def claim_by_gpu(limit: int = 8) -> list[workers_pb2.Lease]:
        devices = workers_pb2.Capabilities(devices=["cpu", "cuda"])
        request = workers_pb2.ClaimJobsRequest(
            queue="default", worker="g", capabilities=devices, limit=limit
        )
        answer = await teams.running.workers.ClaimJobs(request, metadata=teams.worker)
        return [each.lease for each in answer.assignments]

    async def hours() -> float:
        stub: Any = IdentityServiceStub(teams.running.channel)
        listed = await stub.ListProjects(pb.ListProjectsRequest(), metadata=teams.admin)
        return next(float(each.gpu_hours) for each in listed.projects if each.name == "a")

    on_two = spec(resources={"processes": 2}, priority=1)
    first = await teams.submit(ann, spec=on_two)
    (lease,) = await claim_by_gpu(1)
    assert lease.job == first
    # What runs counts up to now: three hours on two GPUs.
    await began(teams, first, hours_ago=3)
    assert 6.0 <= await hours() < 6.5
    second = await teams.submit(ann, spec=on_two)
    (other,) = await claim_by_gpu(1)
    await began(teams, second, hours_ago=3)
    auto = await teams.submit(ann)
    on_cpu = await teams.submit(ann, spec=spec(resources={"device": "cpu"}))
    of_bob = await teams.submit(bob)
    # Used up: what needs no GPU is still taken, and so is what others have.
    assert {each.job for each in await claim_by_gpu()} == {on_cpu, of_bob}
    waiting = await teams.running.jobs.GetJob(jobs_pb2.GetJobRequest(name=auto), metadata=ann)
    assert waiting.waiting_reason == (
        "project 'a' has used the 12 GPU hours that it may in 30 days"
    )
    # It stays used once the jobs have ended, and when they are deleted.
    for each in (lease, other):
        await end(teams, each)
        await teams.running.jobs.DeleteJob(
            jobs_pb2.DeleteJobRequest(name=each.job, force=True), metadata=ann
        )
    assert 12.0 <= await hours() < 12.5
    assert await claim_by_gpu() == []
    # A worker without a GPU uses none.
    assert await claim(teams) == [auto]
    last = await teams.submit(ann)
    await update(teams, "a", max_gpu_hours=13)
    assert [each.job for each in await claim_by_gpu()] == [last]

    # A month later it counts no more.
    def make_old(tx: Transaction) -> None:
        tx.connection.execute(update_of(gpu_use).values(day=gpu_use.c.day - PERIOD_DAYS))

    await teams.running.server.database.writing(make_old)
    assert await hours() < 0.5


async def test_gpu_hours_are_a_number(teams: Teams) -> None:
    for hours in (-1.0, float("nan"), float("inf")):
        stub: Any = IdentityServiceStub(teams.running.channel)
        request = pb.UpdateProjectRequest(name="a", quotas=pb.Quotas(max_gpu_hours=hours))
        code, said = await refusal(stub.UpdateProject(request, metadata=teams.admin))
        assert (code, "quotas.max_gpu_hours: must be >= 0" in said) == ("INVALID_ARGUMENT", True)


async def test_projects_take_turns(teams: Teams) -> None:
    ann = await teams.token(pb.Role.SUBMITTER, "a")
    bob = await teams.token(pb.Role.SUBMITTER, "b")
    of_ann = [await teams.submit(ann, spec=spec(priority=9)) for _ in range(3)]
    of_bob = [await teams.submit(bob) for _ in range(2)]
    # Neither an earlier nor a more urgent queue of one project keeps another from its turn.
    assert await claim(teams, 1) == of_ann[:1]
    assert await claim(teams, 1) == of_bob[:1]
    for name, owner in ((of_ann[0], ann), (of_bob[0], bob)):
        cancel = jobs_pb2.CancelJobRequest(name=name, force=True)
        await teams.running.jobs.CancelJob(cancel, metadata=owner)
    # Where none runs a job, that goes first which has waited the longest.
    assert await claim(teams, 1) == of_ann[1:2]
    assert await claim(teams, 1) == of_bob[1:]
    # Alone, a project is given all.
    assert await claim(teams) == of_ann[2:]


async def test_uploads_beyond_the_quota_are_refused(teams: Teams) -> None:
    ann = await teams.token(pb.Role.SUBMITTER, "a")
    await update(teams, "a", max_stored_bytes=len(houses()) - 1)
    code, said = await refusal(teams.upload(ann))
    assert code == "RESOURCE_EXHAUSTED"
    assert f"may store {len(houses()) - 1:,} bytes" in said
    assert (await update(teams, "a", max_stored_bytes=len(houses()))).stored_bytes == 0
    await teams.upload(ann)
    assert (await update(teams, "a")).stored_bytes > 0


async def test_an_admin_of_one_project_sets_no_quotas(teams: Teams) -> None:
    admin: Metadata = await teams.token(pb.Role.ADMIN, "a")
    stub: Any = IdentityServiceStub(teams.running.channel)
    request = pb.UpdateProjectRequest(name="a")
    code, _ = await refusal(stub.UpdateProject(request, metadata=admin))
    assert code == grpc.StatusCode.PERMISSION_DENIED.name
    await teams.submit(await teams.token(pb.Role.SUBMITTER, "b"))
    listed = await stub.ListProjects(pb.ListProjectsRequest(), metadata=admin)
    assert [each.name for each in listed.projects] == ["a"]
    listed = await stub.ListProjects(pb.ListProjectsRequest(), metadata=teams.admin)
    assert [each.name for each in listed.projects] == ["a", "b", "default"]
