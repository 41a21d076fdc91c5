"""What outsiders meet: no token, a wrong one, one of another role, project or time."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.server.conftest import Running, Start
from tests.server.identity.teams import Metadata
from tests.server.samples import spec

from talweg.server.calls.access import check
from talweg.server.errors import PermissionDenied
from talweg.server.identity.caller import Caller
from talweg.server.identity.methods import METHODS, Role
from talweg.server.parts import SERVICES
from talweg.server.servicers.reflection import V1, V1ALPHA
from talweg.spec.identity.secrets import bearer
from talweg.v1 import identity_pb2 as pb
from talweg.v1 import jobs_pb2, workers_pb2
from talweg.v1.identity_pb2_grpc import IdentityServiceStub


def of_file(folder: Path, name: str) -> Metadata:
    return bearer((folder / name).read_text().strip())


async def created(running: Running, folder: Path, **request: Any) -> tuple[Metadata, str]:
    """Create a token as the admin of the server's own file; its metadata and its name."""
    stub: Any = IdentityServiceStub(running.channel)
    answer = await stub.CreateToken(
        pb.CreateTokenRequest(**request), metadata=of_file(folder, "admin")
    )
    return bearer(answer.secret), answer.token.name


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def outcome(call: Any) -> grpc.aio.AioRpcError | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    return None


def list_jobs(running: Running, metadata: Metadata = ()) -> Any:
    return running.jobs.ListJobs(jobs_pb2.ListJobsRequest(), metadata=metadata)


async def test_every_method_has_an_entry(guarded: Running) -> None:
    """Also those of health and reflection; and without a token only these two answer."""
    from google.protobuf import descriptor_pool

    pool = descriptor_pool.Default()
    names = (*SERVICES, "grpc.health.v1.Health", V1, V1ALPHA)
    walked = {
        f"/{name}/{method.name}"
        for name in names
        for method in pool.FindServiceByName(name).methods
    }
    assert walked == set(METHODS)
    public = {method for method, access in METHODS.items() if access.is_public}
    assert {method.split("/")[1] for method in public} == {"grpc.health.v1.Health", V1, V1ALPHA}
    for method in walked - public:
        kind: Any = guarded.channel.unary_unary
        error = await refusal(kind(method)(b"", timeout=10))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED, method
        assert "the server asks for a token" in (error.details() or "")


async def test_health_needs_no_token(guarded: Running) -> None:
    check_health: Any = guarded.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert await check_health(b"") == b"\x08\x01"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Bearer wrong", "does not know the token"),
        ("Bearer talweg_0123456789abcdef_" + "x" * 43, "does not know the token"),
        ("Basic YTpi", "must be of the form: Bearer TOKEN"),
        ("Bearer ", "asks for a token"),
    ],
)
async def test_a_wrong_token_is_refused(header: str, said: str, guarded: Running) -> None:
    error = await refusal(list_jobs(guarded, (("authorization", header),)))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert said in (error.details() or "")
    # It is not told back.
    assert "wrong" not in (error.details() or "")


async def test_the_secret_of_one_token_does_not_open_another(
    guarded: Running, tmp_path: Path
) -> None:
    one, _ = await created(guarded, tmp_path, role=Role.VIEWER, project="a")
    other, _ = await created(guarded, tmp_path, role=Role.ADMIN, project="a")
    _, id_, _ = other[0][1].split("_", 2)
    secret = one[0][1].split("_", 2)[2]
    error = await refusal(list_jobs(guarded, bearer(f"talweg_{id_}_{secret}")))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_expired_token_is_refused(guarded: Running, tmp_path: Path) -> None:
    token, _ = await created(
        guarded, tmp_path, role=Role.VIEWER, project="a", time_to_live=timedelta(seconds=1)
    )
    await list_jobs(guarded, token)
    async with asyncio.timeout(20):
        while (error := await outcome(list_jobs(guarded, token))) is None:
            await asyncio.sleep(0.1)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "has expired" in (error.details() or "")


async def test_a_revoked_token_is_refused_at_once(guarded: Running, tmp_path: Path) -> None:
    token, name = await created(guarded, tmp_path, role=Role.VIEWER, project="a")
    await list_jobs(guarded, token)
    stub: Any = IdentityServiceStub(guarded.channel)
    admin = of_file(tmp_path, "admin")
    await stub.RevokeToken(pb.RevokeTokenRequest(name=name), metadata=admin)
    error = await refusal(list_jobs(guarded, token))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "was revoked" in (error.details() or "")


async def test_people_are_no_workers_and_workers_are_no_people(
    guarded: Running, tmp_path: Path
) -> None:
    submitter, _ = await created(guarded, tmp_path, role=Role.SUBMITTER, project="a")
    claim = workers_pb2.ClaimJobsRequest(queue="default", worker="w", limit=1)
    for metadata in (submitter, of_file(tmp_path, "admin")):
        error = await refusal(guarded.workers.ClaimJobs(claim, metadata=metadata))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "takes a token of role WORKER" in (error.details() or "")
    worker = of_file(tmp_path, "worker")
    submit = jobs_pb2.SubmitJobRequest()
    error = await refusal(guarded.jobs.SubmitJob(submit, metadata=worker))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not (await guarded.workers.ClaimJobs(claim, metadata=worker)).assignments


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_call_what_the_table_says(role: Role) -> None:
    for method, access in METHODS.items():
        if access.is_public:
            continue
        may = role in access.roles
        try:
            check(method, access, Caller(role))
        except PermissionDenied:
            assert not may, method
        else:
            assert may, method
    readers = {m for m, access in METHODS.items() if Role.VIEWER in access.roles}
    # A larger role may do all that a smaller one may.
    assert readers <= {m for m, access in METHODS.items() if Role.SUBMITTER in access.roles}
    assert readers <= {m for m, access in METHODS.items() if Role.ADMIN in access.roles}


async def test_a_viewer_changes_nothing(guarded: Running, tmp_path: Path) -> None:
    viewer, _ = await created(guarded, tmp_path, role=Role.VIEWER, project="a")
    for method, access in METHODS.items():
        if access.is_audited:
            call: Any = guarded.channel.unary_unary(method)
            error = await refusal(call(b"", metadata=viewer))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED, method


async def test_the_admin_of_a_project_is_none_elsewhere(guarded: Running, tmp_path: Path) -> None:
    admin, name = await created(guarded, tmp_path, role=Role.ADMIN, project="a")
    _, other = await created(guarded, tmp_path, role=Role.VIEWER, project="b")
    stub: Any = IdentityServiceStub(guarded.channel)
    for project in ("b", "*"):
        request = pb.CreateTokenRequest(role=pb.Role.VIEWER, project=project)
        error = await refusal(stub.CreateToken(request, metadata=admin))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    error = await refusal(stub.RevokeToken(pb.RevokeTokenRequest(name=other), metadata=admin))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    listed = await stub.ListTokens(pb.ListTokensRequest(), metadata=admin)
    assert [token.name for token in listed.tokens] == [name]
    elsewhere = (*admin, ("talweg-project", "b"))
    error = await refusal(list_jobs(guarded, elsewhere))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_record_holds_no_secret(guarded: Running, tmp_path: Path) -> None:
    token, _ = await created(guarded, tmp_path, role=Role.VIEWER, project="a")
    await guarded.server.stop(0.2)
    secret = token[0][1].split("_", 2)[2].encode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret in path.read_bytes()]
    # What is secret is for its owner alone.
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("key", "admin", "worker")} == {
        0o600
    }


async def test_what_was_changed_is_written_down(guarded: Running, tmp_path: Path) -> None:
    submitter, name = await created(
        guarded, tmp_path, role=Role.SUBMITTER, project="a", description="ann's laptop"
    )
    error = await refusal(
        guarded.jobs.CancelJob(jobs_pb2.CancelJobRequest(name="jobs/none1234"), metadata=submitter)
    )
    stub: Any = IdentityServiceStub(guarded.channel)
    admin = of_file(tmp_path, "admin")
    async with asyncio.timeout(20):
        entries: list[Any] = []
        while len(entries) < 2:
            await asyncio.sleep(0.1)
            answer = await stub.ListAuditEntries(pb.ListAuditEntriesRequest(), metadata=admin)
            entries = list(answer.entries)
    newest, first = entries
    assert newest.method == "talweg.v1.JobService/CancelJob"
    assert (newest.token, newest.description, newest.project) == (name, "ann's laptop", "a")
    assert (newest.resource, newest.status) == ("jobs/none1234", error.code().name)
    assert newest.peer == "ipv4:127.0.0.1"
    assert first.method == "talweg.v1.IdentityService/CreateToken"
    assert (first.resource, first.status) == (name, "OK")
    page = pb.ListAuditEntriesRequest(page_size=1)
    answer = await stub.ListAuditEntries(page, metadata=admin)
    assert list(answer.entries) == [newest]
    page.page_token = answer.next_page_token
    answer = await stub.ListAuditEntries(page, metadata=admin)
    assert (list(answer.entries), answer.next_page_token) == ([first], "")


async def test_what_callers_send_cannot_spoil_the_audit_log(
    guarded: Running, tmp_path: Path
) -> None:
    admin = of_file(tmp_path, "admin")
    names = ("jobs/\0", "jobs/\x1b[2J", "jobs/two\nlines", "jobs/none1234")
    for name in names:
        await refusal(guarded.jobs.CancelJob(jobs_pb2.CancelJobRequest(name=name), metadata=admin))
    stub: Any = IdentityServiceStub(guarded.channel)
    async with asyncio.timeout(20):
        found: list[str] = []
        while len(found) < len(names):
            await asyncio.sleep(0.1)
            answer = await stub.ListAuditEntries(pb.ListAuditEntriesRequest(), metadata=admin)
            found = [entry.resource for entry in answer.entries]
    assert all(resource.isprintable() for resource in found)
    assert found[0] == "jobs/none1234"


async def test_refused_calls_of_known_tokens_are_written_down(
    guarded: Running, tmp_path: Path
) -> None:
    viewer, name = await created(guarded, tmp_path, role=Role.VIEWER, project="a")
    await refusal(guarded.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(), metadata=viewer))
    stub: Any = IdentityServiceStub(guarded.channel)
    async with asyncio.timeout(20):
        statuses: list[tuple[str, str]] = []
        while (name, "PERMISSION_DENIED") not in statuses:
            await asyncio.sleep(0.1)
            answer = await stub.ListAuditEntries(
                pb.ListAuditEntriesRequest(), metadata=of_file(tmp_path, "admin")
            )
            statuses = [(entry.token, entry.status) for entry in answer.entries]


async def test_a_stream_ends_with_its_token(
    guarded: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talweg.server.calls.access.ASK_AGAIN_S", 0.05)
    token, name = await created(guarded, tmp_path, role=Role.SUBMITTER, project="a")
    submit = jobs_pb2.SubmitJobRequest(spec=spec())
    job = (await guarded.jobs.SubmitJob(submit, metadata=token)).job
    watch = guarded.jobs.WatchJob(jobs_pb2.WatchJobRequest(name=job.name), metadata=token)
    await watch.read()
    stub: Any = IdentityServiceStub(guarded.channel)
    admin = of_file(tmp_path, "admin")
    await stub.RevokeToken(pb.RevokeTokenRequest(name=name), metadata=admin)
    async with asyncio.timeout(20):
        error = await refusal(watch.read())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "was revoked" in (error.details() or "")


async def test_a_server_without_tokens_keeps_no_projects_apart(start: Start) -> None:
    running = await start()
    error = await refusal(list_jobs(running, (("talweg-project", "vision"),)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "keeps no projects apart" in (error.details() or "")
