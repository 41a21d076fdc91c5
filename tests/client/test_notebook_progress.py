"""The live display of a notebook: updated in place while something waits for jobs.

IPython is none of the project's dependencies. Its module for displays is stood in for by one that
writes down what it is told, with the names and arguments of the real one.
"""

import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.client.samples import sample
from tests.client.test_notebooks import EVIL, Tags
from tests.client.worker import Worker

from talweg.client import Client, WaitTimeout
from talweg.client.notebooks import progress
from talweg.v1 import jobs_pb2


class Screen:
    """What a notebook shows: by display id, all contents so far."""

    def __init__(self) -> None:
        self.shown: dict[str, list[dict[str, str]]] = {}

    def display(self, bundle: dict[str, str], *, raw: bool, display_id: str) -> None:
        assert raw
        assert display_id not in self.shown
        self.shown[display_id] = [bundle]

    def update_display(self, bundle: dict[str, str], *, raw: bool, display_id: str) -> None:
        assert raw
        self.shown[display_id].append(bundle)

    @property
    def contents(self) -> list[str]:
        """All contents of the only display, as HTML."""
        (bundles,) = self.shown.values()
        return [bundle["text/html"] for bundle in bundles]


def install(patch: pytest.MonkeyPatch, *, kernel: object) -> Screen:
    screen = Screen()
    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=kernel)
    patch.setitem(sys.modules, "IPython", ipython)
    patch.setitem(sys.modules, "IPython.display", screen)
    patch.setattr(progress, "_SECONDS_APART", 0.0)
    return screen


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    return install(monkeypatch, kernel=object())


class training:  # noqa: N801
    """Trains the next jobs in a thread."""

    def __init__(self, worker: Worker, *states: jobs_pb2.Job.State.ValueType) -> None:
        def work() -> None:
            for state in states:
                attempt = worker.claim()
                attempt.report(step=4, metrics={"train/loss": 0.25, "val/mae": 44.5})
                attempt.finish(state, message="no luck", metrics={"test/mae": 43.125})

        self.thread = Thread(target=work)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.thread.join(20)
        assert not self.thread.is_alive()


def test_a_result_is_waited_for_with_a_bar(client: Client, worker: Worker, screen: Screen) -> None:
    job = client.submit(sample(display_name=EVIL))
    with training(worker, jobs_pb2.Job.SUCCEEDED):
        job.result(30)
    first, *_, last = screen.contents
    assert "QUEUED" in first
    assert 'value="0.000"' in first
    running = [content for content in screen.contents if "RUNNING" in content]
    assert any("epoch 3/5" in content and 'value="0.400"' in content for content in running)
    assert any(
        "train/loss 0.25000" in content and "val/mae 44.500" in content for content in running
    )
    assert "SUCCEEDED" in last
    assert "test/mae 43.125" in last
    assert 'value="1.000"' in last
    assert "script" not in Tags(last).seen
    # What has ended needs no bar.
    job.wait()
    assert len(screen.shown) == 1


def test_a_watch_has_a_bar_and_yields_all_events(
    client: Client, worker: Worker, screen: Screen
) -> None:
    job = client.submit(sample())
    with training(worker, jobs_pb2.Job.FAILED):
        kinds = [event.WhichOneof("kind") for event in job.watch()]
    assert kinds[-1] == "finished"
    assert "FAILED" in screen.contents[-1]
    assert "no luck" in screen.contents[-1]


def test_many_jobs_share_one_display(client: Client, worker: Worker, screen: Screen) -> None:
    jobs = client.submit_many([sample(seed) for seed in range(25)])
    for job in jobs[3:]:
        job.cancel()
    states = (jobs_pb2.Job.SUCCEEDED, jobs_pb2.Job.FAILED, jobs_pb2.Job.SUCCEEDED)
    with training(worker, *states):
        assert client.wait(jobs, 30) == jobs
    last = screen.contents[-1]
    assert "25/25 ended · 1 failed · 22 cancelled · 2 succeeded" in last
    # As many rows as can be looked over; those that went wrong come first.
    assert Tags(last).seen.count("progress") == 20
    assert "and 5 more" in last
    assert last.index("FAILED") < last.index("CANCELLED")
    assert [job.outcome is not None for job in jobs] == [True] * 25


def test_a_wait_for_many_ends_in_time(client: Client, worker: Worker) -> None:
    jobs = client.submit_many([sample(seed) for seed in range(2)])
    worker.claim(jobs[0].name).finish()
    with pytest.raises(WaitTimeout, match=r"1 of 2 jobs have not ended after 0\.5 s"):
        client.wait(jobs, 0.5)
    jobs[1].cancel()
    assert [job.state for job in client.wait(jobs)] == ["SUCCEEDED", "CANCELLED"]


def test_ipython_in_a_terminal_shows_no_bar(
    client: Client, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = install(monkeypatch, kernel=None)
    job = client.submit(sample())
    with training(worker, jobs_pb2.Job.SUCCEEDED):
        job.wait(30)
    assert not screen.shown


def test_ipython_is_never_imported(tmp_path: Path) -> None:
    (tmp_path / "IPython.py").write_text("raise SystemExit('imported')\n")
    code = "from talweg.client.notebooks.progress import live\nwith live([]): print('fine')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
