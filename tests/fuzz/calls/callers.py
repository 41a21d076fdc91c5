"""Who calls a server that asks for tokens: each role in two projects, and those without one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tests.fuzz.messages import TEXTS, damaged

from talweg.server.identity.methods import METHODS, Role
from talweg.spec.identity.projects import PROJECT_METADATA
from talweg.spec.identity.secrets import bearer
from talweg.v1 import identity_pb2
from talweg.v1.identity_pb2_grpc import IdentityServiceStub

Metadata = tuple[tuple[str, str | bytes], ...]

# No request names it, so that none changes its quota.
_QUIET = "of-the-test"
_PROJECTS = ("default", "vision")
_LONG = 20_000
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = bytes(3) + b"\4" + bytes(5)


@dataclass(frozen=True)
class Caller:
    """One who calls."""

    role: Role | None
    """Of the token; None where it does not hold."""
    metadata: Metadata
    """What each call carries."""

    def refusal(self, path: str) -> grpc.StatusCode | None:
        """Return the status that each call of a method must get; None if it is let in."""
        access = METHODS[path]
        if access.is_public:
            return None
        if self.role is None:
            return grpc.StatusCode.UNAUTHENTICATED
        return None if self.role in access.roles else grpc.StatusCode.PERMISSION_DENIED


class Callers:
    """All that call one server."""

    def __init__(self, channel: Any, folder: Path) -> None:
        """Create tokens.

        Args:
            channel: To the server.
            folder: With the files `admin` and `worker`, of which the server has read two tokens.
        """
        self._identity: Any = IdentityServiceStub(channel)
        self._admin = bearer((folder / "admin").read_text().strip())
        worker = bearer((folder / "worker").read_text().strip())
        self.admin, self.worker = Caller(Role.ADMIN, self._admin), Caller(Role.WORKER, worker)
        of_projects = [self._made(role, project) for role in Role for project in _PROJECTS]
        self.submitters = [each for each in of_projects if each.role == Role.SUBMITTER]
        self.quiet = self._made(Role.SUBMITTER, _QUIET)
        self._known = [self.admin, self.worker, *of_projects]
        self._strangers = self._without_token()

    def _created(self, role: Role, project: str) -> tuple[str, Metadata]:
        request = identity_pb2.CreateTokenRequest(role=role.value, project=project)
        answer = self._identity.CreateToken(request, metadata=self._admin)
        return answer.token.name, bearer(answer.secret)

    def _made(self, role: Role, project: str) -> Caller:
        return Caller(role, self._created(role, project)[1])

    def _without_token(self) -> list[Caller]:
        name, revoked = self._created(Role.ADMIN, "default")
        request = identity_pb2.RevokeTokenRequest(name=name)
        self._identity.RevokeToken(request, metadata=self._admin)
        secret = str(self._admin[0][1])
        texts = ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer x", f"Bearer {'x' * 4000}",
                 secret[:-1], secret.swapcase(), f"{secret} {secret}", secret.replace(" ", ""),
                 "Bearer *", "bearer"]  # fmt: skip
        wrong: list[Metadata] = [(("authorization", text),) for text in texts]
        # Twice, of which one holds, tells nobody who calls.
        wrong += [revoked, (), (("authorization-bin", secret.encode()),)]
        return [Caller(None, each) for each in wrong]

    def draw(self, path: str, rng: random.Random) -> Caller:
        """Draw one who calls a method: mostly one who may."""
        chance = rng.random()
        if chance < 0.1:
            return rng.choice(self._strangers)
        if chance < 0.8:
            return rng.choice([each for each in self._known if not each.refusal(path)])
        return rng.choice(self._known)


def odd_metadata(rng: random.Random) -> Metadata:
    """Draw what else a call carries, which nobody asks for or which is of no use."""
    number = rng.choice([1, 1, 2, 30])
    return tuple(_odd_pair(rng) for _ in range(number))


def _odd_pair(rng: random.Random) -> tuple[str, str | bytes]:
    key = rng.choice([PROJECT_METADATA, "x", "user-agent", "te", "grpc-timeout", "x-bin",
                      "grpc-previous-rpc-attempts", "traceparent", "k" * 200])  # fmt: skip
    if key.endswith("-bin"):
        return key, rng.randbytes(rng.choice([0, 1, 100, _LONG]))
    texts: Sequence[str] = [*TEXTS, *_PROJECTS, "*", "nobodys", "v" * _LONG]
    # What a client of gRPC lets through.
    text = "".join(char for char in rng.choice(texts) if " " <= char <= "~")
    return key, text


def goodbye(text: bytes) -> bytes:
    """Return what a peer writes that says hello and goodbye by HTTP/2, with a text for the log."""
    payload = bytes(4) + b"\0\0\0\1" + text
    return _PREFACE + _SETTINGS + len(payload).to_bytes(3) + b"\7" + bytes(5) + payload


def noise(rng: random.Random) -> bytes:
    """Draw what something that does not speak gRPC writes to its port."""
    preface = _PREFACE
    frame = len(payload := rng.randbytes(rng.choice([0, 6, 100]))).to_bytes(3) + bytes(
        [rng.randrange(16), rng.randrange(256)]
    ) + rng.choice([bytes(4), rng.randbytes(4)]) + payload  # fmt: skip
    settings = _SETTINGS
    return rng.choice(
        [rng.randbytes(rng.choice([1, 24, 4000])), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
         b"\x16\3\1" + rng.randbytes(200), preface + rng.randbytes(100),
         preface + settings + frame, preface + settings + frame * 20,
         damaged(preface + settings, rng), goodbye(rng.randbytes(50))]
    )  # fmt: skip
