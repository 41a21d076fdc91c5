"""What the command line shows at 80 and 200 columns, on a terminal and without one."""

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from rich.color import Color
from rich.console import Console
from tests.client.commands import Talweg
from tests.client.samples import sample
from tests.client.test_cli_process import TALWEG, environment
from tests.client.worker import Worker

from talweg.client import Client, Job
from talweg.client._watchers import Watched
from talweg.client.cli._common import STATE_STYLES, WARNING_STYLE
from talweg.client.cli.progress.board import Board
from talweg.client.cli.progress.follow import _take
from talweg.v1 import jobs_pb2

NAME = "a name of a job that says in many words what is tried out here"
Screen = Callable[..., list[str]]


@pytest.fixture
def screen(client: Client, tmp_path: Path) -> Screen:
    """Runs the command line on a terminal of a width, and returns its lines without colours."""

    def show(width: int, *arguments: str, **env: str) -> list[str]:
        env = {"TERM": "xterm", **env}
        settings = environment(tmp_path, TALWEG_ADDRESS=client.address, **env)
        settings.pop("COLUMNS", None)
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
        process = subprocess.Popen(
            [*TALWEG, *arguments], env=settings, stdin=follower, stdout=follower, stderr=follower
        )
        os.close(follower)
        text = b""
        while select.select([leader], [], [], 30)[0]:
            try:
                text += os.read(leader, 65536)
            except OSError:
                break
        os.close(leader)
        assert process.wait(180) in (0, 1)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode()).splitlines()

    return show


def finished_job(client: Client, worker: Worker, **spec: Any) -> Job:
    job = client.submit(sample(**spec))
    attempt = worker.claim(job.name)
    attempt.report(step=4, metrics={"train/loss": 0.25, "val/mae": 44.5})
    attempt.finish(metrics={"test/mae": 43.125}, weights_step=4, step=6)
    attempt.deliver(f"http://127.0.0.1:5000/#/experiments/1/runs/{'0f' * 16}", "0f" * 16)
    return job.refresh()


@pytest.mark.parametrize("width", [80, 200])
def test_jobs_fit(screen: Screen, client: Client, worker: Worker, width: int) -> None:
    done = finished_job(client, worker, display_name=NAME, experiment="an experiment " * 6)
    running = client.submit(sample(1, loss="huber"))
    worker.claim(running.name).report(step=4, metrics={"val/mae": 44.5})
    waiting = client.submit(sample(2))
    lines = screen(width, "jobs", "--limit", "3")
    header, *rows = lines[:4]
    assert header.split()[:4] == ["ID", "STATE", "RESULT", "NAME"]
    assert ("LOSS" in header) == (width == 200)
    assert max(map(len, lines[:4])) <= width
    # One line a job, the newest first, with whole ids.
    assert [row.split()[0] for row in rows] == [waiting.id, running.id, done.id]
    assert "RUNNING 40%" in rows[1]
    assert "44.500 val/mae" in rows[1]
    assert "43.125 test/mae" in rows[2]
    assert NAME[:20] in rows[2]
    assert (NAME in rows[2]) == (width == 200)
    assert any(line.startswith(f"waiting: {waiting.id}: next in the queue") for line in lines[4:])


def test_jobs_without_a_terminal(talweg: Talweg, client: Client, worker: Worker) -> None:
    job = finished_job(client, worker, display_name=NAME)
    out = talweg("jobs", "--limit", "1").out
    assert job.id in out
    assert NAME in out
    assert "\x1b" not in out


@pytest.mark.parametrize("width", [80, 200])
def test_show_ends_with_the_link(
    screen: Screen, client: Client, worker: Worker, width: int
) -> None:
    job = finished_job(client, worker, display_name=NAME)
    lines = screen(width, "show", job.id)
    assert lines[-1] == f"MLflow: {job.message.tracking.url}"
    text = "\n".join(lines)
    assert re.search(r"result +43\.125 test/mae", text)
    assert re.search(
        r"ended +stopped early at step 6 of 10, epoch 3 of 5; weights of step 4", text
    )
    assert lines[0].startswith(f"{job.name} SUCCEEDED {NAME[:20]}")


def luminance(style: str) -> float:
    parts = [part / 255 for part in Color.parse(style).get_truecolor()]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("style", sorted({*STATE_STYLES.values(), WARNING_STYLE}))
def test_colours_can_be_read_on_dark_and_light(style: str) -> None:
    """By the contrast that WCAG asks of large text, 3 to 1."""
    on_white, on_black = 1.05 / (luminance(style) + 0.05), (luminance(style) + 0.05) / 0.05
    assert min(on_white, on_black) >= 3


def board_lines(board: Board, width: int) -> list[str]:
    console = Console(width=width, height=30, file=io.StringIO(), force_terminal=True)
    with console.capture() as capture:
        console.print(board)
    return re.sub(r"\x1b\[[0-9;]*m", "", capture.get()).splitlines()


def events(**kinds: object) -> jobs_pb2.Event:
    return jobs_pb2.Event(**kinds)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [80, 110, 200])
def test_board_tells_jobs_apart(client: Client, width: int) -> None:
    jobs = client.submit_many([sample(display_name=NAME), sample(display_name=NAME)])
    board = Board(jobs)
    for job, loss in zip(jobs, (0.5, 0.25), strict=True):
        line = board.line(job)
        line.take(events(state={"state": jobs_pb2.Job.RUNNING}))
        progress = {
            "step": 40, "total_steps": 1000, "epoch": 0, "total_epochs": 20_000,
            "steps_per_second": 8.0,
        }  # fmt: skip
        line.take(events(progress=progress))
        line.take(events(metrics={"step": 40, "values": {"train/loss": loss}}))
    lines = board_lines(board, width)
    assert max(map(len, lines)) <= width
    for job, shown, value in zip(jobs, lines, ("0.50000", "0.25000"), strict=False):
        assert shown.startswith(f"{job.id}  RUNNING")
        assert f"train/loss {value}" in shown
        assert NAME[:14] in shown
        assert "epoch 1/20000" in shown
        assert ("2 min left" in shown) or width == 80
    for line in board.lines:
        line.take(events(finished={"state": jobs_pb2.Job.SUCCEEDED}))
    assert "left" not in board_lines(board, width)[0]


def test_watch_ends_without_a_reason_to_wait(
    screen: Screen, client: Client, worker: Worker
) -> None:
    job = finished_job(client, worker)
    lines = screen(80, "watch", job.id)
    assert any(line.startswith(f"{job.id}  SUCCEEDED") for line in lines)
    assert not any("next in the queue" in line for line in lines)
    assert lines[-1] == f"MLflow: {job.message.tracking.url}"


def test_a_dumb_terminal_is_told_line_by_line(
    screen: Screen, client: Client, worker: Worker
) -> None:
    job = finished_job(client, worker)
    lines = screen(80, "watch", job.id, TERM="dumb")
    assert any(": RUNNING (claimed by" in line for line in lines)
    assert not any("━" in line for line in lines)


def test_a_line_is_not_repeated(
    client: Client, worker: Worker, talweg: Talweg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talweg.client.cli.progress.follow._PLAIN_SECONDS", 0.0)
    job = client.submit(sample())
    attempt = worker.claim(job.name)
    for step in (1, 1, 1, 2):
        attempt.report(step=step, metrics={"train/loss": 0.5})
    attempt.finish()
    lines = talweg("watch", job.id).out.splitlines()
    assert all(line.startswith(f"{job.id} mse on diabetes, seed 0: ") for line in lines)
    assert len(lines) == len(set(lines))
    assert any(line.endswith("epoch 2/5, train/loss 0.50000") for line in lines)


def test_jobs_without_names_show_what_differs(talweg: Talweg, client: Client) -> None:
    first, second = client.submit_many([sample(loss={"huber": {"delta": d}}) for d in (2, 3)])
    lines = {line.split()[0]: line for line in talweg("jobs", "--limit", "2").out.splitlines()}
    assert "huber delta=2 on diabetes, seed 0" in lines[first.id]
    assert "huber delta=3 on diabetes, seed 0" in lines[second.id]


def test_jobs_by_a_metric(talweg: Talweg, client: Client, worker: Worker) -> None:
    experiment = f"by metric {client.submit(sample()).id}"
    worker.claim().finish()
    good, bad, _ = client.submit_many([sample(seed, experiment=experiment) for seed in range(3)])
    for job, value in ((good, 40.0), (bad, 60.0)):
        worker.claim(job.name).finish(metrics={"test/mae": value})

    def listed(condition: str) -> list[str]:
        arguments = ("--experiment", experiment, "--filter", condition, "--json")
        return [job["id"] for job in talweg("jobs", *arguments).json]

    assert listed("metrics.test/mae < 50") == [good.id]
    assert listed("metrics.test/mae >= 60") == [bad.id]
    assert listed("metrics.test/mae > 0 AND state = SUCCEEDED") == [bad.id, good.id]
    assert listed("metrics.val/mae > 0") == []


def test_the_reason_to_wait_goes_with_the_waiting(client: Client) -> None:
    (job,) = client.submit_many([sample()])
    board = Board([job])
    board.waiting_reason = "next in the queue: waiting for a free worker"
    assert "next in the queue" in board_lines(board, 80)[-1]
    printer = Mock()
    _take(board, Watched(job, events(finished={"state": jobs_pb2.Job.CANCELLED})), printer)
    assert "next in the queue" not in "".join(board_lines(board, 80))
