"""What each service is told when it is started."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from talweg.deploy.folder import Folder
from talweg.deploy.services.definitions import BROKER, SERVER, TRACKING, EmbeddedPlan
from talweg.deploy.settings import Settings
from talweg.deploy.supervision.ports import Ports
from talweg.worker.settings import Settings as WorkerSettings


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "data")
    folder.create()
    return folder


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as ports:
        for service in (BROKER, SERVER, TRACKING):
            ports.choose(service, 0)
        yield ports


def environment(plan: EmbeddedPlan, name: str) -> dict[str, str]:
    return plan.environment() | dict(plan.service(name).env)


def test_one_worker_a_gpu_each_with_its_own(folder: Folder, ports: Ports) -> None:
    plan = EmbeddedPlan(folder, Settings(), ports, ["GPU-a", "GPU-b"])
    assert plan.workers == ("worker-0", "worker-1")
    for name, gpu in zip(plan.workers, ("GPU-a", "GPU-b"), strict=True):
        env = environment(plan, name)
        assert env["CUDA_VISIBLE_DEVICES"] == gpu
        settings = WorkerSettings.from_env(env)
        assert settings.device == "cuda"
        assert settings.queues == ("default", "cuda")
        assert settings.ready_file == folder.ready_file(name)
    names = [WorkerSettings.from_env(environment(plan, name)).worker_name for name in plan.workers]
    assert len(set(names)) == 2


def test_without_a_gpu_one_worker_on_the_cpu(folder: Folder, ports: Ports) -> None:
    plan = EmbeddedPlan(folder, Settings(), ports, [])
    assert plan.names == ("broker", "server", "worker-0", "tracking")
    settings = WorkerSettings.from_env(environment(plan, "worker-0"))
    assert (settings.device, settings.queues) == ("cpu", ("default",))
    assert settings.address == ports.address(SERVER)
    assert settings.tracking_uri == f"http://{ports.address(TRACKING)}"
    assert settings.spool_dir == folder.spool


def test_what_runs_already_is_used_and_not_started(folder: Folder, ports: Ports) -> None:
    settings = Settings(
        broker_url="rediss://user:secret@cache.example:7000/3",
        tracking_uri="https://user:secret@mlflow.example/base",
        database_url="postgresql://db.example/talweg",
    )
    plan = EmbeddedPlan(folder, settings, ports, [])
    assert plan.names == ("server", "worker-0")
    assert plan.needs("server") == ()
    env = environment(plan, "server")
    assert env["TALWEG_BROKER_URL"] == settings.broker_url
    assert env["TALWEG_DATABASE_URL"] == settings.database_url
    assert env["TALWEG_TRACKING_URI"] == settings.tracking_uri
    assert plan.broker_address == "cache.example:7000"
    assert plan.tracking_address == "https://mlflow.example/base"


def test_only_the_server_knows_the_database(
    folder: Folder, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALWEG_DATABASE_URL", "postgresql://user:secret@db.example/talweg")
    plan = EmbeddedPlan(folder, Settings.from_env(), ports, [])
    assert "secret" in environment(plan, SERVER)["TALWEG_DATABASE_URL"]
    for name in ("worker-0", TRACKING, BROKER):
        assert "TALWEG_DATABASE_URL" not in environment(plan, name)


def test_workers_write_beside_the_own_mlflow_and_no_other(
    folder: Folder, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALWEG_TRACKING_DATABASE", "/elsewhere/mlflow.db")
    monkeypatch.setenv("TALWEG_TRACKING_ARTIFACTS", "/elsewhere/artifacts")
    own = EmbeddedPlan(folder, Settings(), ports, [])
    command = own.service(TRACKING).command
    env = environment(own, "worker-0")
    assert env["TALWEG_TRACKING_DATABASE"] in command
    assert Path(env["TALWEG_TRACKING_ARTIFACTS"]).as_uri() in command
    other = Settings(tracking_uri="https://mlflow.example")
    env = environment(EmbeddedPlan(folder, other, ports, []), "worker-0")
    assert not {"TALWEG_TRACKING_DATABASE", "TALWEG_TRACKING_ARTIFACTS"} & env.keys()


def test_the_own_mlflow_has_a_token_and_another_ones_stays_the_users(
    folder: Folder, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALWEG_TRACKING_TOKEN_FILE", "/elsewhere/token")
    own = EmbeddedPlan(folder, Settings(), ports, [])
    env = environment(own, "worker-0")
    assert env["TALWEG_TRACKING_TOKEN_FILE"] == str(folder.tracking_token)
    assert folder.tracking_token.stat().st_mode & 0o777 == 0o600
    assert own.tracking_pages == own.tracking_uri
    other = EmbeddedPlan(folder, Settings(tracking_uri="https://mlflow.example"), ports, [])
    env = environment(other, "worker-0")
    assert env["TALWEG_TRACKING_TOKEN_FILE"] == "/elsewhere/token"
    # So the client shows its token to no server of others.
    assert other.tracking_pages == ""


def test_no_proxy_stands_between_services(
    folder: Folder, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "intranet.example")
    monkeypatch.setenv("NO_PROXY", "store.example, intranet.example")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere.example")
    env = environment(EmbeddedPlan(folder, Settings(), ports, []), "worker-0")
    exempt = ["intranet.example", "store.example", "127.0.0.1", "localhost", "::1"]
    assert env["no_proxy"].split(",") == exempt
    assert env["NO_PROXY"] == env["no_proxy"]
    assert "MLFLOW_TRACKING_URI" not in env


def test_nothing_waits_for_mlflow_and_it_waits_for_all(folder: Folder, ports: Ports) -> None:
    plan = EmbeddedPlan(folder, Settings(), ports, [])
    assert all(TRACKING not in plan.needs(name) for name in plan.names)
    assert set(plan.needs(TRACKING)) == {"server", "worker-0"}


def test_settings_that_are_set_to_nothing_are_not_set() -> None:
    assert Settings.from_env({"TALWEG_DATA": "", "TALWEG_BROKER_URL": ""}) == Settings()
    assert Settings.from_env({"TALWEG_DATA": "/d"}).data == Path("/d")
