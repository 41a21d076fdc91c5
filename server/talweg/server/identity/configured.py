"""Who is known, as the server's settings say."""

from pathlib import Path

import grpc

from talweg.server.errors import BadSetting
from talweg.server.identity.authentication import (
    Authenticator,
    Issuer,
    NoAuthentication,
    TokenAuthentication,
)
from talweg.server.identity.methods import Role
from talweg.server.identity.tls import TlsFiles, credentials
from talweg.server.settings import Settings
from talweg.server.store.record.database import Database
from talweg.spec.identity.secrets import read_or_create_secret

# 24 of hexadecimal digits are 96 bits.
_LEAST_CHARS = 24


def make_authenticator(settings: Settings, database: Database) -> tuple[str, Authenticator]:
    """Return the key of the tokens' hashes, and what finds out who a call is from.

    Raises:
        BadSetting: A file of secrets cannot be used, or a setting of the issuer.
    """
    issuer = _issuer(settings)
    if settings.authentication == "none":
        return "", NoAuthentication()
    key = token_key(settings)
    files = {}
    if settings.admin_token_file is not None:
        files[Role.ADMIN] = _read(settings.admin_token_file, setting="TALWEG_ADMIN_TOKEN_FILE")
    if settings.worker_token_file is not None:
        files[Role.WORKER] = _read(settings.worker_token_file, setting="TALWEG_WORKER_TOKEN_FILE")
    return key, TokenAuthentication(database, key=key, files=files, issuer=issuer)


def _issuer(settings: Settings) -> Issuer | None:
    """Return what knows the tokens of an issuer; None if none is set."""
    needed = {
        "TALWEG_OIDC_ISSUER": settings.oidc_issuer,
        "TALWEG_OIDC_AUDIENCE": settings.oidc_audiences,
        "TALWEG_OIDC_GROUPS": settings.oidc_groups,
    }
    missing = [name for name, value in needed.items() if not value]
    if len(missing) == len(needed):
        return None
    if missing:
        raise BadSetting(
            f"{', '.join(needed)} must be set together, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not"
        )
    if settings.authentication != "token":
        raise BadSetting(
            "TALWEG_OIDC_ISSUER is set, but TALWEG_AUTHENTICATION is "
            f"{settings.authentication!r}: set it to token"
        )
    # Few servers have an issuer; others start without its libraries.
    from talweg.server.identity.oidc.configured import make_issuer  # noqa: PLC0415

    return make_issuer(settings)


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return what the server's port is secured by; None without TLS.

    Raises:
        BadSetting: The files cannot be read, or do not belong together.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return credentials(
        TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    )


def token_key(settings: Settings) -> str:
    """Return the key by which the record's hashes of tokens are made.

    Raises:
        BadSetting: Its file cannot be read, made or used.
    """
    return _read(settings.token_key_file, setting="TALWEG_TOKEN_KEY_FILE")


def _read(path: Path, *, setting: str) -> str:
    """Return the secret in one of the server's files, which is made if it does not exist.

    Args:
        path: The file.
        setting: The variable that names it.

    Raises:
        BadSetting: It cannot be read, made or used.
    """
    try:
        secret = read_or_create_secret(path)
    except OSError as exc:
        raise BadSetting(f"{setting}: {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise BadSetting(f"{setting}: {exc}") from exc
    if len(secret) < _LEAST_CHARS:
        raise BadSetting(
            f"{setting}: {path} must hold >= {_LEAST_CHARS} random characters, but holds "
            f"{len(secret)}; without the file the server makes a good one"
        )
    return secret
