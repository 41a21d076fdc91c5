"""A worker tells a real server of its plug-ins, as long as it runs."""

import sys
from pathlib import Path

import grpc
import pytest
from tests._parts import Server
from tests._plugins import write_package

from talweg.v1.catalog_pb2 import ListModelsRequest
from talweg.v1.catalog_pb2_grpc import CatalogServiceStub
from talweg.v1.workers_pb2 import ReportPluginsRequest
from talweg.worker.channels import Channel
from talweg.worker.execution.announcing import announce

CODE = """
from talweg.plugins import Parameter, declare

@declare(Parameter("size", int, default=3))
def make(parameters, context): ...
"""


def names(server: Server) -> list[str]:
    with grpc.insecure_channel(server.address) as channel:
        models = CatalogServiceStub(channel).ListModels(ListModelsRequest()).models
    return [entry.name for entry in models if entry.name.startswith("plugin:")]


def test_a_worker_tells_again_and_again_until_it_ends(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path, "announced", CODE, {"talweg.models:announced": "make"})
    monkeypatch.syspath_prepend(tmp_path)
    pauses: list[float] = []
    channel = Channel(server.address)
    announce(
        channel,
        worker="announcing",
        queues=["a queue of its own"],
        shutting_down=lambda: len(pauses) == 3,
        pause=pauses.append,
    )
    assert len(pauses) == 3
    assert "announced" not in sys.modules, "it is loaded in another process"
    assert names(server) == ["plugin:announced"]
    # It is told what there is, so that nothing of it stays for the tests that follow.
    for path in tmp_path.iterdir():
        if path.is_dir():
            (path / "entry_points.txt").unlink(missing_ok=True)
    pauses.clear()
    announce(
        channel,
        worker="announcing",
        queues=[],
        shutting_down=lambda: len(pauses) == 1,
        pause=pauses.append,
    )
    channel.close()
    assert names(server) == []


@pytest.mark.parametrize("names_first", [True, False])
def test_names_alone_are_told_by_the_first_process_of_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names_first: bool
) -> None:
    write_package(tmp_path, "retold", CODE, {"talweg.models:retold": "make"})
    monkeypatch.syspath_prepend(tmp_path)
    reports: list[ReportPluginsRequest] = []

    class Server:
        class workers:  # noqa: N801
            @staticmethod
            def ReportPlugins(request: ReportPluginsRequest, *, timeout: float) -> None:  # noqa: N802
                reports.append(request)

    announce(
        Server(),  # type: ignore[arg-type]
        worker="w",
        queues=["q"],
        shutting_down=lambda: bool(reports) and not reports[-1].plugins[0].undeclared,
        names_first=names_first,
        pause=lambda _: None,
    )
    # A job could set what it liked of a plug-in that is known by its name alone.
    assert [report.plugins[0].undeclared for report in reports] == [True] * names_first + [False]
    # Optional extras are told of from the first report on; the tests have all.
    assert {tuple(report.extras) for report in reports} == {("pretrained",)}


def test_a_server_of_an_earlier_version_is_told_nothing() -> None:
    class Earlier:
        class workers:  # noqa: N801
            @staticmethod
            def ReportPlugins(request: object, *, timeout: float) -> None:  # noqa: N802
                raise Unimplemented

    class Unimplemented(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNIMPLEMENTED

    def never(_: float) -> None:
        raise AssertionError("it does not try again")

    announce(
        Earlier(),  # type: ignore[arg-type]
        worker="w",
        queues=[],
        shutting_down=lambda: False,
        pause=never,
    )
