"""The live display of a notebook while something waits for a sweep."""

from collections.abc import Callable

import pytest
from tests._parts import wait_until
from tests.client.sweeps.training import Training, Value, by_setting, sweep
from tests.client.test_notebook_progress import Screen, install
from tests.client.test_notebooks import EVIL, Tags

from talweg.client import Client
from talweg.client.notebooks import sweeps
from talweg.v1.spec_pb2 import JobSpec

Train = Callable[[Value], Training]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setattr(sweeps, "_SECONDS_APART", 0.0)
    return install(monkeypatch, kernel=object())


def test_a_sweep_is_waited_for_with_a_bar(client: Client, train: Train, screen: Screen) -> None:
    num_begun = 0

    def patient(spec: JobSpec) -> float:
        nonlocal num_begun
        num_begun += 1
        if num_begun == 2:
            best = "val/mae 21.000"
            wait_until(lambda: best in screen.contents[-1], timeout=20, what="the first value")
        return by_setting(spec)

    created = client.sweep(sweep(display_name=EVIL, parallel=1))
    train(patient)
    created.wait(120)
    first, *between, last = screen.contents
    assert "RUNNING" in first
    assert 'value="0.000"' in first
    assert any("val/mae" in content and "RUNNING" in content for content in between)
    assert "SUCCEEDED" in last
    assert "4/4 trials" in last
    assert "val/mae 10.100" in last
    assert "script" not in Tags(last).seen
    # What has ended needs no bar.
    list(created.watch())
    created.wait()
    assert len(screen.shown) == 1


def test_a_watch_ends_with_the_last_state(
    client: Client, train: Train, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "_SECONDS_APART", 1000.0)
    created = client.sweep(sweep())
    train(by_setting)
    assert [event.WhichOneof("kind") for event in created.watch()][-1] == "finished"
    assert len(screen.contents) == 2
    assert "4/4 trials" in screen.contents[-1]


def test_outside_a_notebook_nothing_is_shown(
    client: Client, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    train(by_setting)
    client.sweep(sweep()).wait(120)
    assert capsys.readouterr().out == ""
