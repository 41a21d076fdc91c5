"""Settings: read from the environment, refused with the variable, the value and the bound."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from talweg.server.errors import BadSetting
from talweg.server.settings import Settings
from talweg.spec.stored.uris import DataUri


def test_absent_and_empty_variables_leave_the_defaults() -> None:
    # A folder is meant from where the server was started.
    defaults = replace(Settings(), blobs=str(Path(Settings().blobs).absolute()))
    assert Settings.from_env({}) == defaults
    assert Settings.from_env({"TALWEG_LISTEN": "", "TALWEG_LEASE_SECONDS": ""}) == defaults


def test_reads_every_variable() -> None:
    assert Settings.from_env(
        {
            "TALWEG_LISTEN": "0.0.0.0:0",
            "TALWEG_AUTHENTICATION": "Token",
            "TALWEG_INSECURE": "1",
            "TALWEG_TLS_CERT_FILE": "/c",
            "TALWEG_TLS_KEY_FILE": "/k",
            "TALWEG_TLS_CLIENT_CA_FILE": "/ca",
            "TALWEG_TOKEN_KEY_FILE": "/t",
            "TALWEG_ADMIN_TOKEN_FILE": "/a",
            "TALWEG_WORKER_TOKEN_FILE": "/w",
            "TALWEG_OIDC_ISSUER": "https://i",
            "TALWEG_OIDC_AUDIENCE": "a, b,",
            "TALWEG_OIDC_GROUPS": "g=p:admin",
            "TALWEG_OIDC_GROUPS_CLAIM": "roles",
            "TALWEG_OIDC_CA_FILE": "/i",
            "TALWEG_OIDC_REFRESH_SECONDS": "60",
            "TALWEG_DATABASE_URL": "postgresql://h/d",
            "TALWEG_BROKER_URL": "redis://h",
            "TALWEG_LEASE_SECONDS": "2.5",
            "TALWEG_MAX_LOST_ATTEMPTS": "3",
            "TALWEG_IDLE_SECONDS": "5",
            "TALWEG_MAX_WATCHES": "7",
            "TALWEG_BLOBS": "s3://b/f",
            "TALWEG_UPLOADS": "/u",
            "TALWEG_DATA_ROOTS": "/data, s3://b/f",
            "TALWEG_MAX_UPLOAD_BYTES": "1000",
            "TALWEG_INGEST_MEMORY_BYTES": "2000000000",
            "TALWEG_INGEST_SECONDS": "60",
            "TALWEG_PREDICT_SECONDS": "20",
            "TALWEG_READY_FILE": "/r",
            "TALWEG_LOG_LEVEL": "debug",
        }
    ) == Settings(
        listen="0.0.0.0:0",
        authentication="token",
        insecure=True,
        tls_cert_file=Path("/c"),
        tls_key_file=Path("/k"),
        tls_client_ca_file=Path("/ca"),
        token_key_file=Path("/t"),
        admin_token_file=Path("/a"),
        worker_token_file=Path("/w"),
        oidc_issuer="https://i",
        oidc_audiences=("a", "b"),
        oidc_groups="g=p:admin",
        oidc_groups_claim="roles",
        oidc_ca_file=Path("/i"),
        oidc_refresh=timedelta(seconds=60),
        database_url="postgresql://h/d",
        broker_url="redis://h",
        lease=timedelta(seconds=2.5),
        max_lost_attempts=3,
        idle=timedelta(seconds=5),
        max_watches=7,
        blobs="s3://b/f",
        uploads="/u",
        data_roots=(DataUri("file", "", ("data",)), DataUri("s3", "b", ("f",))),
        max_upload_bytes=1000,
        ingest_memory_bytes=2_000_000_000,
        ingest_time=timedelta(seconds=60),
        predict_time=timedelta(seconds=20),
        ready_file=Path("/r"),
        log_level="DEBUG",
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LEASE_SECONDS", "soon", "must be a number, but got 'soon'"),
        ("LEASE_SECONDS", "0.5", "must be >= 1, but got 0.5"),
        ("LEASE_SECONDS", "nan", "must be a finite number"),
        ("MAX_LOST_ATTEMPTS", "0", "must be >= 1, but got 0"),
        ("MAX_LOST_ATTEMPTS", "2.5", "must be a whole number, but got '2.5'"),
        ("IDLE_SECONDS", "0", "must be >= 1, but got 0"),
        ("OIDC_REFRESH_SECONDS", "0", "must be >= 1, but got 0"),
        ("DATA_ROOTS", "data", 'must be folders or s3://bucket/prefix, .*found "data"'),
        ("DATA_ROOTS", "/data,s3://K:S@b", "with credentials or a port in it"),
        ("DATA_ROOTS", "/data/../x", "with . or .. in its path"),
        ("MAX_UPLOAD_BYTES", "0", "must be >= 1, but got 0"),
        ("INGEST_MEMORY_BYTES", "1000", "must be >= 1073741824, but got 1000"),
        ("INGEST_SECONDS", "0", "must be >= 1, but got 0"),
        ("PREDICT_SECONDS", "0", "must be >= 1, but got 0"),
        ("MAX_WATCHES", "0", "must be >= 1 and < 1000, .*but got 0"),
        ("MAX_WATCHES", "1000", "must be >= 1 and < 1000, .*but got 1000"),
        ("LOG_LEVEL", "loud", "must be one of DEBUG"),
        ("INSECURE", "maybe", "must be 1 or 0"),
        ("AUTHENTICATION", "password", "must be one of none, token, but got 'password'"),
        ("TLS_CERT_FILE", "/c", "must be set together"),
        ("TLS_KEY_FILE", "/k", "must be set together"),
        ("TLS_CLIENT_CA_FILE", "/ca", "both of them, must be set together"),
        ("LISTEN", "7070", "must be host:port"),
        ("LISTEN", "localhost:http", "must be host:port"),
        ("LISTEN", "localhost:70000", "<= 65535"),
    ],
)
def test_refuses(name: str, value: str, said: str) -> None:
    with pytest.raises(BadSetting, match=f"TALWEG_{name}.*{said}"):
        Settings.from_env({f"TALWEG_{name}": value})


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/s"])
def test_loopback_needs_no_consent(listen: str) -> None:
    assert Settings(listen=listen).listen == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1", ":1"])
def test_other_machines_need_tokens_and_tls(listen: str) -> None:
    with pytest.raises(BadSetting, match="AUTHENTICATION=token and TALWEG_TLS_CERT_FILE"):
        Settings(listen=listen)
    with pytest.raises(BadSetting, match="set TALWEG_TLS_CERT_FILE"):
        Settings(listen=listen, authentication="token")
    with pytest.raises(BadSetting, match="set TALWEG_AUTHENTICATION=token, or"):
        Settings(listen=listen, tls_cert_file=Path("/c"), tls_key_file=Path("/k"))
    tls = Settings(tls_cert_file=Path("/c"), tls_key_file=Path("/k"))
    assert replace(tls, listen=listen, authentication="token").listen == listen
    assert Settings(listen=listen, insecure=True).listen == listen


def test_the_old_consent_is_not_enough() -> None:
    with pytest.raises(BadSetting, match="--insecure"):
        Settings.from_env({"TALWEG_LISTEN": "0.0.0.0:0", "TALWEG_ALLOW_REMOTE": "1"})
