"""TLS of the server: certificates that are read again when they are renewed."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from talweg.server.errors import BadSetting

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TlsFiles:
    """The files of the server's TLS, in PEM."""

    certificate: Path
    """The server's, with those between it and the CA."""

    key: Path
    """Its private key."""

    client_ca: Path | None = None
    """The CA of clients' certificates; with it each client must have one."""


def credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return what a port is secured by. Renewed files hold for connections made from then on.

    Args:
        files: The files.

    Raises:
        BadSetting: They cannot be read, or are no certificate and key that belong together.
    """
    try:
        source = _Source(files)
    except OSError as exc:
        raise BadSetting(f"TLS: {exc.filename}: {exc.strerror}") from exc
    except ValueError as exc:
        raise BadSetting(f"TLS: {exc}") from exc
    return grpc.dynamic_ssl_server_credentials(
        source.first, source.renewed, require_client_authentication=files.client_ca is not None
    )


class _Source:
    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._fingerprint = _fingerprint(files)
        self.first = _configuration(files)

    def renewed(self) -> Any:
        """Return the configuration where the files have changed, else None.

        gRPC calls it at each handshake, in a thread of its own.
        """
        try:
            fingerprint = _fingerprint(self._files)
            if fingerprint == self._fingerprint:
                return None
            configuration = _configuration(self._files)
        except (OSError, ValueError) as exc:
            # The certificates of before hold until theirs are whole.
            log.warning("the TLS files cannot be read; those of before are used: %s", exc)
            return None
        self._fingerprint = fingerprint
        log.info("the TLS files were renewed")
        return configuration


def _configuration(files: TlsFiles) -> Any:
    import ssl  # noqa: PLC0415 - a server without TLS needs none

    # gRPC would accept anything here and refuse each connection later.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
    except ssl.SSLError as exc:
        raise ValueError(
            f"{files.certificate} and {files.key} must be a certificate and its key in PEM, "
            f"but: {exc.reason or exc}"
        ) from exc
    return grpc.ssl_server_certificate_configuration(
        [(files.key.read_bytes(), files.certificate.read_bytes())],
        root_certificates=None if files.client_ca is None else files.client_ca.read_bytes(),
    )


def _fingerprint(files: TlsFiles) -> tuple[tuple[int, int], ...]:
    """Return what changes with the files.

    Raises:
        OSError: One of them is missing.
    """
    paths = filter(None, (files.certificate, files.key, files.client_ca))
    return tuple((each.stat().st_mtime_ns, each.stat().st_ino) for each in paths)
