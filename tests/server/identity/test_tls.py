"""TLS: who speaks plainly, trusts another CA or has no certificate of their own stays out."""

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.server.conftest import Running, Start

from talweg.server import listener
from talweg.server.errors import BadSetting
from talweg.server.identity.certificates import CertificateError, issue, make_authority
from talweg.server.identity.tls import TlsFiles, credentials
from talweg.v1.jobs_pb2 import ListJobsRequest
from talweg.v1.jobs_pb2_grpc import JobServiceStub


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    folder = tmp_path / "certs"
    make_authority(folder)
    issue(folder, "server", hosts=["talweg.example"])
    return folder


@pytest.fixture
async def secured(start: Start, certs: Path, request: pytest.FixtureRequest) -> Running:
    """A server with TLS; with mutual TLS where the test's parameter says so."""
    mutual = getattr(request, "param", False)
    return await start(
        tls_cert_file=certs / "server.pem",
        tls_key_file=certs / "server-key.pem",
        tls_client_ca_file=certs / "ca.pem" if mutual else None,
    )


async def ask(address: str, credentials: Any = None, timeout: float = 10) -> None:
    """Call the server once, on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.insecure_channel(address, options=options)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options=options)
    )
    async with channel:
        stub: Any = JobServiceStub(channel)
        await stub.ListJobs(ListJobsRequest(), timeout=timeout)


async def refused(address: str, credentials: Any = None) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(address, credentials, timeout=5)
    return caught.value.code()


def trusting(folder: Path, name: str = "") -> grpc.ChannelCredentials:
    """Credentials that trust a folder's CA, with a certificate of its own or without."""
    own = {}
    if name:
        own = {
            "private_key": (folder / f"{name}-key.pem").read_bytes(),
            "certificate_chain": (folder / f"{name}.pem").read_bytes(),
        }
    return grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), **own)


async def test_only_tls_under_the_right_ca_gets_through(
    secured: Running, certs: Path, tmp_path: Path
) -> None:
    address = secured.server.address
    await ask(address, trusting(certs))
    assert await refused(address) is grpc.StatusCode.UNAVAILABLE
    make_authority(tmp_path / "others")
    assert await refused(address, trusting(tmp_path / "others")) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("secured", [True], indirect=True)
async def test_mutual_tls_asks_for_a_certificate(
    secured: Running, certs: Path, tmp_path: Path
) -> None:
    address = secured.server.address
    issue(certs, "ann")
    await ask(address, trusting(certs, "ann"))
    assert await refused(address, trusting(certs)) is grpc.StatusCode.UNAVAILABLE
    others = tmp_path / "others"
    make_authority(others)
    issue(others, "eve")
    stranger = grpc.ssl_channel_credentials(
        (certs / "ca.pem").read_bytes(),
        (others / "eve-key.pem").read_bytes(),
        (others / "eve.pem").read_bytes(),
    )
    assert await refused(address, stranger) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("secured", [False, True], indirect=True)
async def test_its_own_port_counts_as_well(secured: Running) -> None:
    # Else the server would end itself: 3 silences in a row say that nobody takes connections.
    assert await listener.answers(secured.server.address, is_secured=True, seconds=8)


def serial_number(address: str, ca: Path) -> str:
    """Return the serial number of the certificate that a server shows."""
    import socket

    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    host, port = address.rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="talweg.example") as wrapped,
    ):
        shown: Any = wrapped.getpeercert()
        return str(shown["serialNumber"])


async def test_a_renewed_certificate_needs_no_restart(secured: Running, certs: Path) -> None:
    address, ca = secured.server.address, certs / "ca.pem"
    before = await asyncio.to_thread(serial_number, address, ca)
    # While its files do not belong together, that of before holds.
    (certs / "server-key.pem").write_text("half of it")
    assert await asyncio.to_thread(serial_number, address, ca) == before
    issue(certs, "server", hosts=["talweg.example"], replace=True)
    assert await asyncio.to_thread(serial_number, address, ca) != before
    await ask(address, trusting(certs))


def test_keys_are_for_their_owner_alone(certs: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in certs.iterdir()}
    assert modes == {
        "ca.pem": 0o644,
        "ca-key.pem": 0o600,
        "server.pem": 0o644,
        "server-key.pem": 0o600,
    }
    with pytest.raises(CertificateError, match="authority already"):
        make_authority(certs)
    with pytest.raises(CertificateError, match="--replace"):
        issue(certs, "server", hosts=["talweg.example"])


@pytest.mark.parametrize("broken", ["missing", "no certificate", "of another key"])
def test_files_that_cannot_be_used_are_said_at_the_start(certs: Path, broken: str) -> None:
    certificate, key = certs / "server.pem", certs / "server-key.pem"
    if broken == "missing":
        os.unlink(key)
    elif broken == "no certificate":
        certificate.write_text("hello")
    else:
        _, key = issue(certs, "other")
    with pytest.raises(BadSetting, match="TLS: .*server"):
        credentials(TlsFiles(certificate, key))
