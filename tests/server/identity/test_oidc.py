"""Tokens that an OpenID Connect provider on loopback has signed, as an outsider brings them."""

import asyncio
import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.server.conftest import Running, Start
from tests.server.identity.provider import AUDIENCE, Provider, parts_of, running_provider
from tests.server.identity.teams import Teams, refusal

from talweg.spec.identity.secrets import bearer
from talweg.v1 import identity_pb2 as pb
from talweg.v1 import jobs_pb2
from talweg.v1.identity_pb2_grpc import IdentityServiceStub

# The provider uses parts of Authlib that are to go.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:authlib\.")

GROUPS = "ml=vision:submitter, ops=*:viewer, ops=speech:admin, /leads%2C all=speech:viewer"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
async def guarded(start: Start, tmp_path: Path, provider: Provider) -> Running:
    """A server that takes the provider's tokens beside its own."""
    return await serving(start, tmp_path, provider.issuer)


async def serving(start: Start, folder: Path, issuer: str, **settings: Any) -> Running:
    return await start(
        authentication="token",
        token_key_file=folder / "key",
        admin_token_file=folder / "admin",
        worker_token_file=folder / "worker",
        oidc_issuer=issuer,
        oidc_audiences=(AUDIENCE,),
        oidc_groups=GROUPS,
        **settings,
    )


async def whoami(running: Running, token: str, **metadata: str) -> pb.Caller:
    stub: Any = IdentityServiceStub(running.channel)
    more = tuple((f"talweg-{key}", value) for key, value in metadata.items())
    caller: pb.Caller = await stub.GetCaller(
        pb.GetCallerRequest(), metadata=(*bearer(token), *more), timeout=60
    )
    return caller


async def refused(running: Running, token: str, **metadata: str) -> tuple[str, str]:
    return await refusal(whoami(running, token, **metadata))


def signed(key: Any, algorithm: str, claims: dict[str, Any], **header: Any) -> str:
    return jwt.encode(claims, key, algorithm, headers=header)


def unsigned(claims: dict[str, Any], *, algorithm: str = "none", key: bytes | None = None) -> str:
    """Write a token without a library, which would refuse to."""
    parts = [{"alg": algorithm, "typ": "JWT"}, claims]
    text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    signature = b"" if key is None else hmac.digest(key, text.encode(), hashlib.sha256)
    return f"{text}.{encoded(signature)}"


def encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


async def test_a_group_opens_its_project(
    guarded: Running, provider: Provider, tmp_path: Path
) -> None:
    # As many groups as some issuers send at most, by their long ids.
    ann = provider.token("ml", *(f"0f8fad5b-d9cb-469f-a165-{number:012}" for number in range(200)))
    assert len(ann) > 10_000
    caller = await whoami(guarded, ann)
    assert (caller.token, caller.description) == ("users/ann", "ann@example.org")
    assert (caller.role, caller.project) == (pb.Role.SUBMITTER, "vision")
    teams = Teams(guarded, tmp_path)
    name = await teams.submit(bearer(ann))
    # It is in the group's project, and in no other.
    other = await teams.token(pb.Role.VIEWER, "speech")
    get = guarded.jobs.GetJob(jobs_pb2.GetJobRequest(name=name), metadata=other)
    assert (await refusal(get))[0] == "NOT_FOUND"
    status, said = await refused(guarded, ann, project="speech")
    assert (status, "open project vision" in said) == ("PERMISSION_DENIED", True)
    # A submitter is no admin, whoever issued the token.
    stub: Any = IdentityServiceStub(guarded.channel)
    status, said = await refusal(stub.ListTokens(pb.ListTokensRequest(), metadata=bearer(ann)))
    assert (status, "of role ADMIN" in said) == ("PERMISSION_DENIED", True)
    # The server's own tokens hold as before.
    entries: list[Any] = []
    async with asyncio.timeout(60):
        while not entries:
            log = await stub.ListAuditEntries(pb.ListAuditEntriesRequest(), metadata=teams.admin)
            entries = [each for each in log.entries if each.method.endswith("SubmitJob")]
            await asyncio.sleep(0.02)
    (entry,) = entries
    assert (entry.token, entry.description, entry.project, entry.resource) == (
        "users/ann",
        "ann@example.org",
        "vision",
        name,
    )


async def test_the_role_is_that_of_the_project_asked_for(
    guarded: Running, provider: Provider
) -> None:
    ops = provider.token("ops", user="carl|ä")
    caller = await whoami(guarded, ops)
    assert caller.token == "users/carl|%C3%A4"
    assert (caller.role, caller.project, list(caller.projects)) == (
        pb.Role.VIEWER,
        "default",
        ["*"],
    )
    caller = await whoami(guarded, ops, project="speech")
    assert (caller.role, list(caller.projects)) == (pb.Role.ADMIN, ["speech"])
    # An admin of one project who reads all of them stays an admin of the one.
    stub: Any = IdentityServiceStub(guarded.channel)
    metadata = (*bearer(ops), ("talweg-project", "speech"))
    for project in ("vision", "*"):
        request = pb.CreateTokenRequest(role=pb.Role.ADMIN, project=project)
        status, _ = await refusal(stub.CreateToken(request, metadata=metadata))
        assert status == "PERMISSION_DENIED"
    request = pb.CreateTokenRequest(role=pb.Role.VIEWER, project="speech")
    created = await stub.CreateToken(request, metadata=metadata)
    assert created.token.creator == "users/carl|%C3%A4"
    both = provider.token("ml", "/leads, all")
    status, said = await refused(guarded, both)
    assert status == "PERMISSION_DENIED"
    assert "open projects speech, vision: say which by --project NAME" in said
    assert (await whoami(guarded, both, project="speech")).role == pb.Role.VIEWER


async def test_what_does_not_hold_is_refused_with_its_reason(
    guarded: Running, provider: Provider
) -> None:
    good = provider.token("ml")
    _, claims = parts_of(good)
    head, _, signature = good.split(".")
    forged = encoded(json.dumps({**claims, "groups": ["ops"]}).encode())
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    published = jwt.PyJWK(provider.public_key(), algorithm="RS256").key
    pem = published.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with running_provider() as other:
        elsewhere = other.token("ml")
    rows = {
        "for audience ['billing'], but this server takes those for 'talweg'": provider.token(
            "ml", audience="billing"
        ),
        f"of issuer 'http://localhost:{other.port}', but": elsewhere,
        "is signed by 'none', but must be": unsigned(claims),
        "is signed by 'HS256', but must be": unsigned(claims, algorithm="HS256", key=pem),
        "by a key that": signed(own, "RS256", claims),
        "does not publish": f"{head}.{forged}.{signature}",
        "must be an ID token or an access token": signed(own, "RS256", claims, typ="logout+jwt"),
        "does not know the token": f"{good}.x",
    }
    for said, token in rows.items():
        status, text = await refused(guarded, token)
        assert (status, said in text) == ("UNAUTHENTICATED", True), (said, text)
        assert token not in text
    for said, token in {
        "none of the groups of ann@example.org opens a project here ('sales')": provider.token(
            "sales"
        ),
        "holds no groups in the claim 'groups'": provider.token(),
        "since they are too many": provider.token(_claim_names={"groups": "src1"}),
    }.items():
        status, text = await refused(guarded, token)
        assert (status, said in text) == ("PERMISSION_DENIED", True), (said, text)
    # Nothing of it has cost the good one.
    assert (await whoami(guarded, good)).project == "vision"


@pytest.fixture
async def changing(
    start: Start, tmp_path: Path
) -> AsyncIterator[tuple[Running, Provider, ExitStack]]:
    """A server, and a provider whose tokens have expired when it gives them."""
    with ExitStack() as serves:
        expired = timedelta(minutes=-2)
        provider = serves.enter_context(running_provider(life=expired))
        running = await serving(
            start, tmp_path, provider.issuer, oidc_refresh=timedelta(seconds=1)
        )
        yield running, provider, serves


async def test_keys_come_and_go(
    changing: tuple[Running, Provider, ExitStack], tmp_path: Path
) -> None:
    running, provider, serves = changing
    status, said = await refused(running, provider.token("ml"))
    assert status == "UNAUTHENTICATED"
    assert f"the token has expired, at {time.gmtime().tm_year}-" in said
    # A key that the server has not seen is asked for at once.
    serves.close()
    provider = serves.enter_context(running_provider(provider.port))
    first = provider.token("ml")
    assert (await whoami(running, first)).project == "vision"
    # While the issuer is away, what its known keys have signed holds, and nobody knows of others.
    serves.close()
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    unknown = signed(own, "RS256", parts_of(first)[1])
    async with asyncio.timeout(60):
        while (answer := await refused(running, unknown))[0] == "UNAUTHENTICATED":
            await asyncio.sleep(0.1)
    assert answer[0] == "UNAVAILABLE"
    assert f"the issuer {provider.issuer} does not answer the server. Try again later" in answer[1]
    assert (await whoami(running, first)).project == "vision"
    admin = (tmp_path / "admin").read_text().strip()
    assert (await whoami(running, admin)).role == pb.Role.ADMIN
    # A key that it no longer publishes holds no more, although nobody asks for another one.
    serves.enter_context(running_provider(provider.port))
    async with asyncio.timeout(60):
        while True:
            try:
                await whoami(running, first)
            except Exception as exc:
                error: Any = exc
                break
            await asyncio.sleep(0.1)
    assert error.code().name == "UNAUTHENTICATED"
    assert "does not publish" in error.details()
