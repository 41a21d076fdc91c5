"""A stack that clients of others call, and a job in it."""

from collections.abc import Iterator

import pytest
from tests.integration.stack import Stack, start_stack, tiny_spec


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that tests share and leave whole."""
    stack = start_stack(tmp_path_factory.mktemp("interop"))
    yield stack
    stack.stop()


@pytest.fixture(autouse=True)
def _token(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALWEG_TOKEN", stack.token)


@pytest.fixture(scope="session")
def finished(stack: Stack) -> str:
    """The name of a job with the loss huber that has succeeded."""
    with stack.client() as client:
        job = client.submit(tiny_spec(loss={"huber": {"delta": 2}}, experiment="finished"))
        assert job.wait().state == "SUCCEEDED"
        return job.name
