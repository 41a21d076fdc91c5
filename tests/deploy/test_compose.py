"""deploy/compose.yaml agrees with the images and with what the services read."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.dockerfiles import Dockerfile
from tests.deploy.test_settings_page import variables_of

from talweg.server.errors import BadSetting
from talweg.server.settings import Settings as ServerSettings
from talweg.worker.settings import Settings as WorkerSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SECRETS = {
    "BROKER_PASSWORD": "b1",
    "DATABASE_PASSWORD": "d2",
    "ADMIN_TOKEN": "a3",
    "WORKER_TOKEN": "w4",
}
READERS = {"server": "server", "worker": "worker", "worker-gpu": "worker"}


def fill_in(value: Any, secrets: dict[str, str]) -> Any:
    """Put variables in place as compose does: ${NAME:?…}, ${NAME:-default}, $$ for a dollar."""
    if isinstance(value, dict):
        return {key: fill_in(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_in(item, secrets) for item in value]
    if isinstance(value, str):
        filled = re.sub(r"(?<!\$)\$\{(\w+):\?[^}]*\}", lambda match: secrets[match[1]], value)
        filled = re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", filled)
        assert "${" not in filled, f"a variable that may be left out: {value}"
        return filled.replace("$$", "$")
    return value


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    filled = fill_in(yaml.safe_load((DEPLOY / "compose.yaml").read_text()), SECRETS)
    assert isinstance(filled, dict)
    return filled


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def dockerfile(service: dict[str, Any]) -> Dockerfile:
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    return Dockerfile(ROOT / service["build"]["dockerfile"])


def port_of(service: dict[str, Any], *, host: str = "127.0.0.1") -> str:
    """Return the one published port, which is the same inside and outside."""
    (published,) = service["ports"]
    address, outside, inside = published.split(":")
    assert address == host
    assert outside == inside
    return str(inside)


def test_it_has_the_services_of_a_service(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {"redis", "postgres", "mlflow", "server", "worker", "worker-gpu"}
    assert [name for name in services if "profiles" in services[name]] == ["worker-gpu"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]


@pytest.mark.parametrize("name", list(READERS))
def test_every_variable_is_one_that_its_service_reads(
    name: str, services: dict[str, dict[str, Any]]
) -> None:
    # Clients and workers read those of security.
    read = set(variables_of(READERS[name])) | set(variables_of("security"))
    assert set(services[name]["environment"]) <= read


def test_every_variable_of_its_own_is_explained() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", (DEPLOY / "compose.yaml").read_text())) | set(
        SECRETS
    )
    template = (DEPLOY / "compose.env.example").read_text()
    assert used == set(re.findall(r"^#?(\w+)=", template, re.MULTILINE))
    page = (ROOT / "docs/settings.md").read_text()
    _, _, section = page.partition("## Variables of `deploy/compose.yaml`")
    assert used <= set(re.findall(r"`([A-Z_]+)`", section.partition("\n## ")[0]))


def test_the_server_takes_its_settings(services: dict[str, dict[str, Any]]) -> None:
    settings = ServerSettings.from_env(services["server"]["environment"])
    assert settings.authentication == "token"
    assert settings.insecure
    assert settings.database_url == "postgresql://talweg:d2@postgres:5432/talweg"
    assert settings.broker_url == "redis://:b1@redis:6379/0"
    port = port_of(services["server"])
    assert settings.listen == f"0.0.0.0:{port}"
    assert dockerfile(services["server"]).one("EXPOSE") == port
    assert ServerSettings().listen.endswith(f":{port}")
    whole = {**dockerfile(services["server"]).env, **services["server"]["environment"]}
    in_image = ServerSettings.from_env(whole)
    uploads, blobs, identity = services["server"]["volumes"]
    assert uploads.split(":")[1] == in_image.uploads
    # Else all tokens of the record were worthless after a new container.
    assert identity.split(":")[1] == str(in_image.token_key_file.parent)
    # Workers read the data that the server stores.
    assert blobs == f"blobs:{in_image.blobs}" == services["worker"]["volumes"][1]


@pytest.mark.parametrize(
    ("name", "device", "queues"),
    [("worker", "cpu", ("default",)), ("worker-gpu", "cuda", ("default", "cuda"))],
)
def test_workers_reach_the_server_the_broker_and_mlflow(
    name: str, device: str, queues: tuple[str, ...], services: dict[str, dict[str, Any]]
) -> None:
    image = dockerfile(services[name])
    settings = WorkerSettings.from_env({**image.env, **services[name]["environment"]})
    assert settings.address == f"server:{port_of(services['server'])}"
    assert settings.tracking_uri == f"http://mlflow:{port_of(services['mlflow'])}"
    # People are outside, where the name of a container means nothing.
    assert settings.public_tracking_uri == f"http://localhost:{port_of(services['mlflow'])}"
    assert settings.broker_url == services["server"]["environment"]["TALWEG_BROKER_URL"]
    assert (settings.device, settings.queues) == (device, queues)
    spool, blobs = services[name]["volumes"]
    assert spool.split(":")[1] == str(settings.spool_dir)
    # All workers see the same checkpoints, and the server sends what they leave.
    assert blobs == f"blobs:{settings.blobs}"
    server = services["server"]
    assert blobs in server["volumes"]
    whole = {**dockerfile(server).env, **server["environment"]}
    assert ServerSettings.from_env(whole).blobs == settings.blobs


def test_the_image_of_the_server_asks_for_protection(services: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(BadSetting, match="TALWEG_TLS_CERT_FILE"):
        ServerSettings.from_env(dockerfile(services["server"]).env)


def test_server_and_workers_have_the_tokens_that_they_need_and_no_other(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    server = ServerSettings.from_env(services["server"]["environment"])
    files = {str(server.admin_token_file), str(server.worker_token_file)}
    assert files == {f"/run/secrets/{name}" for name in services["server"]["secrets"]}
    for name in ("worker", "worker-gpu"):
        (secret,) = services[name]["secrets"]
        assert services[name]["environment"]["TALWEG_TOKEN_FILE"] == f"/run/secrets/{secret}"
        assert str(server.worker_token_file) == f"/run/secrets/{secret}"
    # From deploy/.env, as all secrets are.
    assert {each["environment"] for each in compose["secrets"].values()} <= set(SECRETS)


def test_no_two_workers_share_a_spool(services: dict[str, dict[str, Any]]) -> None:
    volumes = [services[name]["volumes"][0].split(":")[0] for name in ("worker", "worker-gpu")]
    assert len(set(volumes)) == 2


def test_mlflow_listens_where_it_is_looked_for(services: dict[str, dict[str, Any]]) -> None:
    image, port = dockerfile(services["mlflow"]), port_of(services["mlflow"])
    assert image.one("EXPOSE") == port
    assert image.option("--port") == port
    environment = services["mlflow"]["environment"]
    assert environment["MLFLOW_BACKEND_STORE_URI"].endswith("@postgres:5432/mlflow")
    assert f"mlflow:{port}" in environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    (volume,) = services["mlflow"]["volumes"]
    assert volume.split(":")[1] == image.option("--artifacts-destination")
    assert "CREATE DATABASE mlflow;" in (DEPLOY / "images/databases.sql").read_text()


def test_nobody_runs_as_root(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        user = dockerfile(service).one("USER") if "build" in service else service["user"]
        assert user not in ("root", "0"), name


def test_images_are_named_by_digest(services: dict[str, dict[str, Any]]) -> None:
    """A tag can be moved to another image; a digest cannot."""
    bases = set()
    for service in services.values():
        if "build" in service:
            assert dockerfile(service).one("FROM") == "${PYTHON}"
            bases.add(dockerfile(service).args["PYTHON"])
        else:
            assert re.fullmatch(r"\w+:[\w.-]+@sha256:[0-9a-f]{64}", service["image"])
    (base,) = bases
    assert re.fullmatch(r"python:3\.11-slim@sha256:[0-9a-f]{64}", base)


def test_everything_else_waits_until_its_needs_are_well(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, service in services.items():
        for need, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            needed = services[need]
            assert "healthcheck" in needed or dockerfile(needed).has("HEALTHCHECK"), (name, need)


def test_only_loopback_is_published(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_secrets_are_named_in_the_example_and_have_no_value_anywhere() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    lines = (DEPLOY / "compose.env.example").read_text().splitlines()
    example = [line for line in lines if line and not line.startswith("#")]
    assert sorted(example) == [f"{name}=" for name in sorted(SECRETS)]
    taken = re.findall(r"\$\{(\w+):\?|environment: (\w+)", text)
    assert {name for pair in taken for name in pair if name} == set(SECRETS)


def test_the_broker_does_not_name_its_password_as_an_argument(
    services: dict[str, dict[str, Any]],
) -> None:
    assert "b1" not in " ".join(services["redis"]["command"])
    assert services["redis"]["environment"] == {"REDISCLI_AUTH": "b1"}


def test_volumes_are_declared(compose: dict[str, Any]) -> None:
    mounted = [
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
    ]
    for source in mounted:
        assert source in compose["volumes"] or (DEPLOY / source).exists()
