"""Keys, claims and groups of an issuer, and how its documents are fetched."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from talweg.server.errors import BadSetting, IssuerUnavailable, PermissionDenied, Unauthenticated
from talweg.server.identity.certificates import CA_FILE, issue, make_authority
from talweg.server.identity.configured import make_authenticator
from talweg.server.identity.methods import Role
from talweg.server.identity.oidc import claims
from talweg.server.identity.oidc.authentication import OidcAuthentication
from talweg.server.identity.oidc.claims import LEEWAY_S, Rules
from talweg.server.identity.oidc.documents import IssuerError, check_url, fetch_keys
from talweg.server.identity.oidc.groups import GroupRoles
from talweg.server.identity.oidc.key_cache import KeyCache, Keys
from talweg.server.identity.oidc.keys import parse_keys
from talweg.server.settings import Settings

ISSUER = "https://issuer.example.org/tenant"
RULES = Rules(ISSUER, ("talweg",))
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def published(key: Any, id_: str = "", **fields: Any) -> dict[str, Any]:
    """Return a key as an issuer publishes it."""
    kinds = {ec.EllipticCurvePrivateKey: ECAlgorithm, rsa.RSAPrivateKey: RSAAlgorithm}
    kind: Any = next((k for of, k in kinds.items() if isinstance(key, of)), OKPAlgorithm)
    written = kind.to_jwk(key.public_key(), as_dict=True)
    return {**written, **({"kid": id_} if id_ else {}), **fields}


def keys_of(*listed: dict[str, Any]) -> Keys:
    return parse_keys({"keys": list(listed)})


def good(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {"iss": ISSUER, "aud": "talweg", "sub": "ann", "iat": now, "exp": now + 600}
    return {name: value for name, value in (whole | changed).items() if value is not None}


def token(key: Any = EDWARDS, algorithm: str = "EdDSA", /, **changed: Any) -> str:
    return jwt.encode(good(**changed), key, algorithm)


def test_a_key_signs_by_the_algorithms_of_its_kind_alone() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    found = keys_of(
        published(ELLIPTIC, "ec"),
        published(EDWARDS, "ed", use="sig"),
        published(ELLIPTIC, "other-use", use="enc"),
        published(ELLIPTIC, "other-algorithm", alg="RS256"),
        published(weak, "weak"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "symmetric", "alg": "HS256"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "broken"},
        {"kty": "RSA", "kid": "empty"},
    )
    assert [(key.id, key.algorithms) for key in found] == [("ec", ("ES256",)), ("ed", ("EdDSA",))]
    with pytest.raises(ValueError, match="is an object with the list"):
        parse_keys({"keys": {}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"exp": -LEEWAY_S - 5}, "has expired, at 20"),
        ({"nbf": LEEWAY_S + 60}, "is not valid yet"),
        ({"aud": ["a", "b"]}, r"for audience \['a', 'b'\], but this server takes those for"),
        ({"aud": None}, "has no claim 'aud'"),
        ({"exp": None}, "has no claim 'exp'"),
        ({"sub": None}, "has no claim 'sub'"),
        ({"exp": "soon"}, "cannot be read"),
    ],
)
def test_claims_that_do_not_hold(changed: dict[str, Any], said: str) -> None:
    for name, value in changed.items():
        if isinstance(value, int):
            changed = {name: int(time.time()) + value}
    with pytest.raises(Unauthenticated, match=said):
        claims.verified(token(**changed), keys_of(published(EDWARDS)), RULES)


def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    late = token(exp=now - LEEWAY_S // 2, nbf=now + LEEWAY_S // 2, aud=["other", "talweg"])
    assert claims.verified(late, keys_of(published(EDWARDS)), RULES) is not None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("groups", ["a", "b"]),
        ("realm_access.roles", ["c"]),
        ("https://example.org/groups", ["d"]),
        ("hd", ["example.org"]),
        ("absent.groups", []),
        ("count", []),
    ],
)
def test_groups_in_claims(name: str, found: list[str]) -> None:
    held = {
        "groups": ["a", 1, "b", None],
        "realm_access": {"roles": ["c"]},
        "https://example.org/groups": ["d"],
        "hd": "example.org",
        "count": 3,
    }
    assert list(claims.groups(held, name)) == found


@pytest.mark.parametrize(
    ("held", "shown"),
    [
        ({"email": "a@b", "sub": "1"}, "a@b"),
        ({"email": "boss@b", "email_verified": False, "name": "Ann", "sub": "1"}, "Ann"),
        ({"email": ["a@b"], "sub": "1"}, "1"),
        ({"email": "a\x1b[2J\nb", "sub": "1"}, "a�[2J�b"),
    ],
)
def test_who_it_is_for_people(held: dict[str, Any], shown: str) -> None:
    assert claims.description(held) == shown


def test_the_highest_role_of_all_groups_counts() -> None:
    roles = GroupRoles("a=vision:viewer,b=vision:admin, CN=c%2COU=x=*:submitter,a=speech:viewer")
    assert roles.of(["b", "a"]) == {"vision": Role.ADMIN, "speech": Role.VIEWER}
    assert roles.of(["CN=c,OU=x"]) == {"*": Role.SUBMITTER}
    assert roles.of(["A", "a "]) == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"oidc_groups": "a"}, "TALWEG_OIDC_GROUPS must be GROUP=PROJECT:ROLE.*but got 'a'"),
        ({"oidc_groups": "a=v:root"}, "a role must be one of viewer, submitter, admin"),
        ({"oidc_groups": "a=v:worker"}, "workers take a token of `talweg token create"),
        ({"oidc_groups": "a=No Such:admin"}, "lower-case letters"),
        ({"oidc_issuer": "http://issuer.example.org"}, "TALWEG_OIDC_ISSUER must be https://"),
        ({"oidc_issuer": "https://me:secret@example.org"}, "must be https://HOST"),
        ({"oidc_issuer": "issuer.example.org"}, "must be https://HOST"),
        ({"oidc_issuer": "https://example.org/?tenant=1"}, "must be https://HOST"),
        ({"oidc_audiences": ()}, "set together, but TALWEG_OIDC_AUDIENCE is not"),
        ({"oidc_issuer": "", "oidc_groups": ""}, "ISSUER and TALWEG_OIDC_GROUPS are not"),
        ({"oidc_ca_file": Path("/no/such/file")}, "TALWEG_OIDC_CA_FILE: /no/such/file: No such"),
        ({"authentication": "none"}, "TALWEG_AUTHENTICATION is 'none': set it to token"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    whole: dict[str, Any] = {
        "authentication": "token",
        "token_key_file": tmp_path / "key",
        "oidc_issuer": ISSUER,
        "oidc_audiences": ("talweg",),
        "oidc_groups": "a=vision:viewer",
    }
    with pytest.raises(BadSetting, match=said):
        make_authenticator(Settings(**whole | settings), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["http://unix:1", "http://10.0.0.1", "ftp://localhost"])
def test_other_issuers_need_it(url: str) -> None:
    with pytest.raises(ValueError, match="must be https://, or http:// to this machine"):
        check_url(url)


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1:1/a", "http://[::1]:1"])
def test_an_issuer_on_this_machine_needs_no_tls(url: str) -> None:
    assert check_url(url) == url


class Issuer:
    """An issuer whose keys a test sets, and that counts how often they were fetched."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = keys
        self.num_fetched = 0
        self.is_away = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def fetch(self) -> Keys:
        keys = self.keys
        self.num_fetched += 1
        self.may_answer.wait(60)
        if self.is_away:
            raise IssuerError("away")
        return keys_of(*keys)

    def authentication(self) -> OidcAuthentication:
        return OidcAuthentication(
            KeyCache(ISSUER, self.fetch, refresh_s=300),
            rules=RULES,
            groups_claim="groups",
            group_roles=GroupRoles("ml=vision:viewer"),
        )


def named(id_: str, **changed: Any) -> str:
    return jwt.encode(good(groups=["ml"], **changed), EDWARDS, "EdDSA", headers={"kid": id_})


async def test_unknown_keys_do_not_have_the_issuer_asked_for_each() -> None:
    issuer = Issuer(published(EDWARDS, "one"))
    known = issuer.authentication()
    assert (await known.caller(named("one"), project="")).project == "vision"
    issuer.keys = (*issuer.keys, published(ELLIPTIC, "two"))
    for number in range(20):
        with pytest.raises(Unauthenticated, match="does not publish"):
            await known.caller(named(f"made-up-{number}"), project="")
    assert issuer.num_fetched <= 2
    issuer.num_fetched = 0
    with pytest.raises(Unauthenticated, match="not signed by the key 'one'"):
        await known.caller(named("one")[:-4] + "AAAA", project="")
    assert issuer.num_fetched == 0


async def test_a_fetch_that_ran_before_a_key_came_is_none_for_its_tokens() -> None:
    issuer = Issuer(published(ELLIPTIC, "old"))
    known = issuer.authentication()
    issuer.may_answer.clear()
    running = asyncio.create_task(known.run())
    try:
        while not issuer.num_fetched:
            await asyncio.sleep(0.01)
        early = asyncio.create_task(known.caller(named("new"), project=""))
        await asyncio.sleep(0)  # It waits for that fetch now.
        issuer.keys = (published(EDWARDS, "new"),)
        issuer.may_answer.set()
        assert (await early).project == "vision"
        assert issuer.num_fetched == 2
    finally:
        running.cancel()


async def test_who_waits_for_the_issuer_keeps_nobody_waiting() -> None:
    issuer = Issuer(published(EDWARDS, "one"))
    known = issuer.authentication()
    await known.caller(named("one"), project="")
    other = Issuer(published(EDWARDS, "one"))
    waiting = other.authentication()
    other.may_answer.clear()
    calls = [asyncio.create_task(waiting.caller(named("one"), project="")) for _ in range(50)]
    await asyncio.sleep(0)
    # The loop goes on.
    assert (await known.caller(named("one"), project="")).role == Role.VIEWER
    assert not any(call.done() for call in calls)
    calls[0].cancel()
    other.may_answer.set()
    assert {(await call).project for call in calls[1:]} == {"vision"}
    assert other.num_fetched == 1


async def test_an_issuer_that_was_never_there() -> None:
    issuer = Issuer()
    issuer.is_away = True
    known = issuer.authentication()
    for _ in range(2):
        with pytest.raises(IssuerUnavailable, match="does not answer the server. Try again"):
            await known.caller(named("one"), project="")
    with pytest.raises(Unauthenticated, match="of issuer 'https://evil.example', but"):
        await known.caller(named("one", iss="https://evil.example"), project="")
    assert issuer.num_fetched == 1


async def test_a_token_that_was_checked_before_still_expires() -> None:
    known = Issuer(published(EDWARDS, "one")).authentication()
    brief = named("one", exp=int(time.time()) - LEEWAY_S + 2)
    await known.caller(brief, project="")
    with pytest.raises(PermissionDenied, match="open project vision"):
        await known.caller(brief, project="speech")

    async def until_refused() -> None:
        while True:
            await known.caller(brief, project="")
            await asyncio.sleep(0.05)

    with pytest.raises(Unauthenticated, match="has expired"):
        await asyncio.wait_for(until_refused(), 60)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serves documents on loopback: by path a document, or a status to answer with."""
    servers = []

    def serve(documents: dict[str, Any], *, certificate: tuple[Path, Path] | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = documents.get(self.path, 404)
                status, content = (found, b"") if isinstance(found, int) else (200, found)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://169.254.169.254/secrets")
                self.end_headers()
                if status == 200:
                    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                    self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        servers.append(server)
        scheme = "http" if certificate is None else "https"
        return f"{scheme}://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_documents_that_are_not_what_they_must_be(
    serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No proxy leads to this machine.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    where = "/.well-known/openid-configuration"
    documents: dict[str, Any] = {}
    issuer = serve(documents)
    whole = {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}
    documents |= {where: whole, "/keys": {"keys": [published(EDWARDS, "one")]}}
    assert [key.id for key in fetch_keys(issuer, ca_file=None)] == ["one"]
    for path, document, said in (
        (where, {**whole, "issuer": f"{issuer}/"}, "to the last slash"),
        (where, {**whole, "jwks_uri": "http://issuer.example.org/keys"}, "must be https://"),
        (where, {**whole, "jwks_uri": "file:///etc/passwd"}, "must be https://"),
        (where, {"issuer": issuer}, "jwks_uri in its discovery document must be a URL"),
        (where, 302, "answered 302 to 'http://169.254.169.254/secrets'"),
        (where, 500, "answered 500"),
        (where, b"<html>", "is not JSON"),
        (where, b"[" * 100_000, "is not JSON"),
        (where, [1], "is not an object of JSON"),
        (where, b" " * 600_000, "is larger than"),
        ("/keys", {"keys": []}, "holds no public key that can be used"),
        ("/keys", {}, "a JWKS is an object with the list"),
    ):
        kept, documents[path] = documents[path], document
        with pytest.raises(IssuerError, match=said):
            fetch_keys(issuer, ca_file=None)
        documents[path] = kept
    with pytest.raises(IssuerError, match="refused"):
        fetch_keys("http://127.0.0.1:9", ca_file=None)


def test_an_issuer_is_known_by_its_certificate(serve: Callable[..., str], tmp_path: Path) -> None:
    make_authority(tmp_path)
    documents: dict[str, Any] = {}
    issuer = serve(documents, certificate=issue(tmp_path, "issuer", hosts=["127.0.0.1"]))
    keys = {"keys": [published(EDWARDS, "one")]}
    where, whole = "/.well-known/openid-configuration", {"issuer": issuer}
    documents |= {"/keys": keys, where: {**whole, "jwks_uri": f"{issuer}/keys"}}
    assert [key.id for key in fetch_keys(issuer, ca_file=tmp_path / CA_FILE)] == ["one"]
    with pytest.raises(IssuerError, match="certificate verify failed"):
        fetch_keys(issuer, ca_file=None)
    # Its keys must not come by a way that others can change, although it is on this machine.
    documents[where] = {**whole, "jwks_uri": f"{serve({'/keys': keys})}/keys"}
    with pytest.raises(IssuerError, match="as protected as the issuer's"):
        fetch_keys(issuer, ca_file=tmp_path / CA_FILE)
