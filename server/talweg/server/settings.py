"""The server's settings, from TALWEG_* environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from talweg.server.errors import BadSetting
from talweg.server.limits.connections import MAX_STREAMS
from talweg.server.limits.under_way import CallLimits
from talweg.spec.identity import security
from talweg.spec.identity.security import INSECURE
from talweg.spec.local.flags import read_flag
from talweg.spec.local.ready import READY_FILE
from talweg.spec.stored.uris import ROOTS, BadUriError, DataUri, parse_roots

T = TypeVar("T", int, timedelta)

_MAX_SECONDS = 86_400
_MOST_DAYS = 36_500
# The libraries that read files need so much address space before they read anything.
_LEAST_MEMORY = 1024**3
AUTHENTICATIONS = ("none", "token")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Settings:
    """What a server needs to know before it starts."""

    listen: str = "127.0.0.1:7070"
    """TALWEG_LISTEN: host:port to listen on; with port 0 the system picks one."""

    authentication: str = "none"
    """TALWEG_AUTHENTICATION: token, so that each call must carry one; or none, so that whoever
    reaches the port may do everything."""

    tls_cert_file: Path | None = None
    """TALWEG_TLS_CERT_FILE: the server's certificate, with those between it and the CA, in PEM."""

    tls_key_file: Path | None = None
    """TALWEG_TLS_KEY_FILE: the private key of that certificate."""

    tls_client_ca_file: Path | None = None
    """TALWEG_TLS_CLIENT_CA_FILE: the CA of clients' certificates; with it each client must have
    one."""

    insecure: bool = False
    """TALWEG_INSECURE: 1 to listen on an address that other machines reach although calls need no
    token or are not encrypted."""

    token_key_file: Path = Path(".talweg/token-key")
    """TALWEG_TOKEN_KEY_FILE: the key by which the record's hashes of tokens are made; made if it
    does not exist. Servers that share a record share it."""

    admin_token_file: Path | None = None
    """TALWEG_ADMIN_TOKEN_FILE: a file with a token of an admin of all projects, which needs no row
    in the record; made if it does not exist."""

    worker_token_file: Path | None = None
    """TALWEG_WORKER_TOKEN_FILE: the same for workers of all queues."""

    oidc_issuer: str = ""
    """TALWEG_OIDC_ISSUER: the OpenID Connect issuer whose tokens hold beside the server's own;
    none if empty."""

    oidc_audiences: tuple[str, ...] = ()
    """TALWEG_OIDC_AUDIENCE: for whom its tokens must be: one of these, divided by commas."""

    oidc_groups: str = ""
    """TALWEG_OIDC_GROUPS: what its groups may do: GROUP=PROJECT:ROLE, divided by commas."""

    oidc_groups_claim: str = "groups"
    """TALWEG_OIDC_GROUPS_CLAIM: the claim that holds the groups."""

    oidc_ca_file: Path | None = None
    """TALWEG_OIDC_CA_FILE: the CA of the issuer's certificate, in PEM; those of the system if not
    set."""

    oidc_refresh: timedelta = timedelta(minutes=5)
    """TALWEG_OIDC_REFRESH_SECONDS: how often the issuer's keys are fetched again."""

    database_url: str = "sqlite:///talweg.db"
    """TALWEG_DATABASE_URL: sqlite:///FILE or postgresql://…."""

    broker_url: str = "redis://127.0.0.1:6379/0"
    """TALWEG_BROKER_URL: the Redis that holds Celery's wake-up messages and live events."""

    blobs: str = ".talweg/blobs"
    """TALWEG_BLOBS: the workers' store, for stored data sets and the files of jobs: a folder, or a
    URL that fsspec knows, such as s3://bucket/folder."""

    lease: timedelta = timedelta(seconds=30)
    """TALWEG_LEASE_SECONDS: how long a worker may be silent before its job is taken from it."""

    max_lost_attempts: int = 5
    """TALWEG_MAX_LOST_ATTEMPTS: after so many lost workers a job ends as FAILED."""

    idle: timedelta = timedelta(seconds=30)
    """TALWEG_IDLE_SECONDS: after so long without a call a connection is closed; clients connect
    again by themselves."""

    max_watches: int = 500
    """TALWEG_MAX_WATCHES: jobs and sweeps that callers of one address may watch at once."""

    max_connections: int = 1_000
    """TALWEG_MAX_CONNECTIONS: connections of one address, but for those from this machine."""

    max_calls: int = CallLimits.calls
    """TALWEG_MAX_CALLS: calls of one address that may be under way at once, watches included."""

    slow_reader: timedelta = CallLimits.slow
    """TALWEG_SLOW_READER_SECONDS: a stream whose caller makes no room for the next response for so
    long is ended; clients open it again from where they are."""

    reads_per_second: int = 1000
    """TALWEG_READS_PER_SECOND: calls a second of one token that change nothing, and ten times as
    many at once after a pause; 0 for as many as it likes."""

    writes_per_second: int = 500
    """TALWEG_WRITES_PER_SECOND: the same of calls that change something."""

    worker_calls_per_second: int = 2_000
    """TALWEG_WORKER_CALLS_PER_SECOND: the same of all calls of a worker's token."""

    public_tracking_uri: str = ""
    """TALWEG_PUBLIC_TRACKING_URI: where people reach MLflow's pages now. Links to runs lead there;
    if empty, to where the worker wrote that they are."""

    keep_days: float | None = None
    """TALWEG_KEEP_DAYS: jobs that ended so many days ago are deleted, but for the best of each
    experiment and those that others need. All are kept if it is not set."""

    uploads: str = ".talweg/uploads"
    """TALWEG_UPLOADS: a folder on this machine's disk for files that are being uploaded."""

    data_roots: tuple[DataUri, ...] = ()
    """TALWEG_DATA_ROOTS: folders and s3://bucket/prefix, divided by commas, below which jobs may
    name data by their URIs; none if it is not set."""

    max_upload_bytes: int = 10 * 1024**3
    """TALWEG_MAX_UPLOAD_BYTES: the largest file that is taken."""

    ingest_memory_bytes: int = 8 * 1024**3
    """TALWEG_INGEST_MEMORY_BYTES: how much memory the process that reads a file may take."""

    ingest_time: timedelta = timedelta(minutes=30)
    """TALWEG_INGEST_SECONDS: how long reading a file may take."""

    predict_time: timedelta = timedelta(minutes=1)
    """TALWEG_PREDICT_SECONDS: how long a prediction on a worker may take, waiting included."""

    ready_file: Path | None = None
    """TALWEG_READY_FILE: a file to write {"pid", "address"} to once the server serves."""

    log_level: str = "INFO"
    """TALWEG_LOG_LEVEL: DEBUG, INFO, WARNING or ERROR."""

    def __post_init__(self) -> None:
        """Check what can be checked without touching anything.

        Raises:
            BadSetting: A value is outside its bounds.
        """
        one_second = timedelta(seconds=1)
        _at_least("LEASE_SECONDS", self.lease, one_second)
        _at_least("MAX_LOST_ATTEMPTS", self.max_lost_attempts, 1)
        _at_least("IDLE_SECONDS", self.idle, one_second)
        _at_least("OIDC_REFRESH_SECONDS", self.oidc_refresh, one_second)
        _at_least("MAX_UPLOAD_BYTES", self.max_upload_bytes, 1)
        _at_least("INGEST_MEMORY_BYTES", self.ingest_memory_bytes, _LEAST_MEMORY)
        _at_least("INGEST_SECONDS", self.ingest_time, one_second)
        _at_least("PREDICT_SECONDS", self.predict_time, one_second)
        _at_least("MAX_CONNECTIONS", self.max_connections, 1)
        _at_least("MAX_CALLS", self.max_calls, 1)
        _at_least("SLOW_READER_SECONDS", self.slow_reader, one_second)
        _at_least("READS_PER_SECOND", self.reads_per_second, 0)
        _at_least("WRITES_PER_SECOND", self.writes_per_second, 0)
        _at_least("WORKER_CALLS_PER_SECOND", self.worker_calls_per_second, 0)
        if not 1 <= self.max_watches < MAX_STREAMS:
            raise BadSetting(
                f"TALWEG_MAX_WATCHES must be >= 1 and < {MAX_STREAMS}, the calls that one "
                f"connection may hold, but got {self.max_watches}"
            )
        if self.keep_days is not None and not 0 < self.keep_days <= _MOST_DAYS:
            raise BadSetting(
                f"TALWEG_KEEP_DAYS must be > 0 and <= {_MOST_DAYS}, but got {self.keep_days:g}"
            )
        if self.log_level not in _LOG_LEVELS:
            raise BadSetting(
                f"TALWEG_LOG_LEVEL must be one of {', '.join(_LOG_LEVELS)}, "
                f"but got {self.log_level!r}"
            )
        if self.authentication not in AUTHENTICATIONS:
            raise BadSetting(
                f"TALWEG_AUTHENTICATION must be one of {', '.join(AUTHENTICATIONS)}, "
                f"but got {self.authentication!r}"
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None) or (
            self.tls_client_ca_file is not None and self.tls_cert_file is None
        ):
            raise BadSetting(
                "TALWEG_TLS_CERT_FILE and TALWEG_TLS_KEY_FILE, and with TALWEG_TLS_CLIENT_CA_FILE "
                "both of them, must be set together: a certificate needs its key"
            )
        if not self.insecure and not is_loopback(self.listen):
            self._check_protection()

    def _check_protection(self) -> None:
        missing = [] if self.authentication == "token" else ["TALWEG_AUTHENTICATION=token"]
        if self.tls_cert_file is None:
            missing.append("TALWEG_TLS_CERT_FILE and TALWEG_TLS_KEY_FILE (talweg cert init)")
        if missing:
            raise BadSetting(
                f"TALWEG_LISTEN is {self.listen!r}, which other machines can reach: set "
                f"{' and '.join(missing)}, or listen on 127.0.0.1. In a network that is "
                "protected otherwise, --insecure (TALWEG_INSECURE=1) serves without"
            )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings; a variable that is absent or empty leaves the default.

        Args:
            env: The variables; the process's own where None.

        Raises:
            BadSetting: A value cannot be read or is outside its bounds.
        """
        env = os.environ if env is None else env
        values = {name: value for name, value in env.items() if value != ""}
        return cls(
            listen=values.get("TALWEG_LISTEN", cls.listen),
            authentication=values.get("TALWEG_AUTHENTICATION", cls.authentication).lower(),
            tls_cert_file=_path(values, "TALWEG_TLS_CERT_FILE"),
            tls_key_file=_path(values, "TALWEG_TLS_KEY_FILE"),
            tls_client_ca_file=_path(values, "TALWEG_TLS_CLIENT_CA_FILE"),
            insecure=_flag(values, INSECURE),
            token_key_file=Path(values.get("TALWEG_TOKEN_KEY_FILE", cls.token_key_file)),
            admin_token_file=_path(values, "TALWEG_ADMIN_TOKEN_FILE"),
            worker_token_file=_path(values, "TALWEG_WORKER_TOKEN_FILE"),
            oidc_issuer=values.get("TALWEG_OIDC_ISSUER", cls.oidc_issuer),
            oidc_audiences=_listed(values, "TALWEG_OIDC_AUDIENCE"),
            oidc_groups=values.get("TALWEG_OIDC_GROUPS", cls.oidc_groups),
            oidc_groups_claim=values.get("TALWEG_OIDC_GROUPS_CLAIM", cls.oidc_groups_claim),
            oidc_ca_file=_path(values, "TALWEG_OIDC_CA_FILE"),
            oidc_refresh=_seconds(values, "TALWEG_OIDC_REFRESH_SECONDS", cls.oidc_refresh),
            database_url=values.get("TALWEG_DATABASE_URL", cls.database_url),
            broker_url=values.get("TALWEG_BROKER_URL", cls.broker_url),
            blobs=_absolute(values.get("TALWEG_BLOBS", cls.blobs)),
            lease=_seconds(values, "TALWEG_LEASE_SECONDS", cls.lease),
            max_lost_attempts=_whole(values, "TALWEG_MAX_LOST_ATTEMPTS", cls.max_lost_attempts),
            idle=_seconds(values, "TALWEG_IDLE_SECONDS", cls.idle),
            max_watches=_whole(values, "TALWEG_MAX_WATCHES", cls.max_watches),
            max_connections=_whole(values, "TALWEG_MAX_CONNECTIONS", cls.max_connections),
            max_calls=_whole(values, "TALWEG_MAX_CALLS", cls.max_calls),
            slow_reader=_seconds(values, "TALWEG_SLOW_READER_SECONDS", cls.slow_reader),
            reads_per_second=_whole(values, "TALWEG_READS_PER_SECOND", cls.reads_per_second),
            writes_per_second=_whole(values, "TALWEG_WRITES_PER_SECOND", cls.writes_per_second),
            worker_calls_per_second=_whole(
                values, "TALWEG_WORKER_CALLS_PER_SECOND", cls.worker_calls_per_second
            ),
            public_tracking_uri=values.get("TALWEG_PUBLIC_TRACKING_URI", "").rstrip("/"),
            keep_days=_days(values, "TALWEG_KEEP_DAYS"),
            uploads=values.get("TALWEG_UPLOADS", cls.uploads),
            data_roots=_roots(values),
            max_upload_bytes=_whole(values, "TALWEG_MAX_UPLOAD_BYTES", cls.max_upload_bytes),
            ingest_memory_bytes=_whole(
                values, "TALWEG_INGEST_MEMORY_BYTES", cls.ingest_memory_bytes
            ),
            ingest_time=_seconds(values, "TALWEG_INGEST_SECONDS", cls.ingest_time),
            predict_time=_seconds(values, "TALWEG_PREDICT_SECONDS", cls.predict_time),
            ready_file=_path(values, READY_FILE),
            log_level=values.get("TALWEG_LOG_LEVEL", cls.log_level).upper(),
        )


def _at_least(name: str, value: T, least: T) -> None:
    """Refuse a setting below its bound; times in seconds."""
    if value < least:
        found, bound = (
            each.total_seconds() if isinstance(each, timedelta) else each
            for each in (value, least)
        )
        raise BadSetting(f"TALWEG_{name} must be >= {bound:.12g}, but got {found:.12g}")


def _absolute(place: str) -> str:
    """Return a folder's path from the root; a URL as it is."""
    return place if "://" in place else str(Path(place).absolute())


def is_loopback(listen: str) -> bool:
    """Return whether a listening address is reachable from this machine alone.

    Args:
        listen: Host:port, [host]:port or unix:PATH.

    Raises:
        BadSetting: It is none of these.
    """
    if listen.startswith("unix:"):
        return True
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise BadSetting(f"TALWEG_LISTEN must be host:port with port <= 65535, but got {listen!r}")
    return security.is_loopback(listen)


def _days(values: Mapping[str, str], name: str) -> float | None:
    if name not in values:
        return None
    try:
        return float(values[name])
    except ValueError as exc:
        raise BadSetting(f"{name} must be a number of days, but got {values[name]!r}") from exc


def _flag(values: Mapping[str, str], name: str) -> bool:
    try:
        return read_flag(values, name)
    except ValueError as exc:
        raise BadSetting(str(exc)) from exc


def _listed(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, values.get(name, "").split(","))))


def _path(values: Mapping[str, str], name: str) -> Path | None:
    return Path(values[name]) if name in values else None


def _roots(values: Mapping[str, str]) -> tuple[DataUri, ...]:
    try:
        return parse_roots(values.get(ROOTS, ""))
    except BadUriError as exc:
        raise BadSetting(
            f"{ROOTS} must be folders or s3://bucket/prefix, divided by commas, but {exc}"
        ) from exc


def _seconds(values: Mapping[str, str], name: str, default: timedelta) -> timedelta:
    text = values.get(name)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError as exc:
        raise BadSetting(f"{name} must be a number, but got {text!r}") from exc
    if not 0 <= seconds <= _MAX_SECONDS:
        raise BadSetting(
            f"{name} must be a finite number >= 0 and <= {_MAX_SECONDS}, but got {text!r}"
        )
    return timedelta(seconds=seconds)


def _whole(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError as exc:
        raise BadSetting(f"{name} must be a whole number, but got {text!r}") from exc
