"""Parts that several tests share; each starts at its first use."""

import gc
import logging
import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from tests._parts import Mlflow, free_port, running_redis
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# Tests run side by side. Threads of PyTorch that wait for each other would take the cores from the
# other tests: all would take twice as long. Set before PyTorch is loaded; programs inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job ignores Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    gc.disable()
    try:
        return (yield)
    finally:
        # The tests and what they import stay to the end: no garbage collection need look at them.
        gc.freeze()
        gc.enable()
        # pytest adds its handlers to each logger that passes nothing on, and takes them off, three
        # times a test: PyTorch has fifty of them.
        for name, logger in logging.root.manager.loggerDict.items():
            if name.partition(".")[0] == "torch" and isinstance(logger, logging.Logger):
                logger.propagate = True


# What the modules of a folder share takes longer to start than most of them: a stack, an MLflow,
# servers.
_TOGETHER = ("tests/integration", "tests/worker/tracking", "tests/worker/execution")
# Thousands of tests of a few milliseconds each.
_SHORT = ("tests/worker/losses/", "tests/proto/")


def _folder(nodeid: str) -> str:
    return nodeid.partition("::")[0].rpartition("/")[0]


def _place(nodeid: str) -> int:
    """Tell when a test comes: what stays together and takes long first, the shortest last.

    So the processes end at almost the same time.
    """
    folder = _folder(nodeid)
    if folder in _TOGETHER:
        return _TOGETHER.index(folder)
    places = enumerate(_SHORT, len(_TOGETHER) + 1)
    return next((at for at, each in places if f"{folder}/".startswith(each)), len(_TOGETHER))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place(item.nodeid))


class _ByFolder(LoadScopeScheduling):  # type: ignore[misc]
    """Keep the tests of a module in one process, and those of some folders."""

    def _split_scope(self, nodeid: str) -> str:
        folder = _folder(nodeid)
        return folder if folder in _TOGETHER else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    if config.getoption("dist") != "loadscope":
        return None
    return _ByFolder(config, log)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker for the whole session; tests keep apart by the names of their queues and keys."""
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """A tracking server for the whole session; tests keep apart by their experiments."""
    server = Mlflow(folder=tmp_path_factory.mktemp("mlflow"), port=free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mlflow_url(mlflow_server: Mlflow) -> str:
    """Where the session's tracking server serves."""
    return mlflow_server.url
