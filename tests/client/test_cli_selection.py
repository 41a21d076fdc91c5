"""`talweg metrics`, `talweg open`, and jobs that are selected by conditions."""

import csv
import io
import json
import os
import sys
import webbrowser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.client.commands import Talweg
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client, JobState
from talweg.client.cli._pages import link_shown
from talweg.spec.local.mlflow_access import opens


def test_metrics_are_a_table_for_other_programs(
    talweg: Talweg, client: Client, worker: Worker
) -> None:
    job = client.submit(sample())
    attempt = worker.claim()
    attempt.report(step=1, metrics={"val/mae": 0.5, "val/loss": 2.0})
    attempt.report(step=2, metrics={"val/mae": 0.1 + 0.2})
    rows = list(csv.DictReader(io.StringIO(talweg("metrics", job.id, "val/mae").out)))
    assert [(row["step"], float(row["value"])) for row in rows] == [("1", 0.5), ("2", 0.1 + 0.2)]
    assert {row["metric"] for row in talweg("metrics", job.id, "--json").json} == {
        "val/mae",
        "val/loss",
    }
    assert "no points of test/" in talweg("metrics", job.id, "test/").err


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser was given."""
    opened: list[str] = []

    def take(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", take)
    return opened


def test_open_leads_to_a_run_and_to_a_comparison(
    talweg: Talweg, client: Client, worker: Worker, opened: list[str]
) -> None:
    jobs = client.submit_many([sample(seed=seed, experiment="pages") for seed in range(2)])
    assert talweg("open", jobs[0].id).status == 3
    for run in ("a", "b"):
        attempt = worker.claim()
        attempt.finish()
        attempt.deliver(f"http://127.0.0.1:1/#/experiments/1/runs/{run}", run)
    done = talweg("open", jobs[0].id)
    assert done.out == "http://127.0.0.1:1/#/experiments/1/runs/a\n"
    assert opened == [done.out.strip()]
    done = talweg("open", "--experiment", "pages", "--print")
    assert "viewStateShareKey=talweg-test-mae" in done.out
    assert len(opened) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_mlflow_of_an_own_stack_opens_by_a_link(
    talweg: Talweg,
    client: Client,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    opened: list[str],
) -> None:
    monkeypatch.setenv("TALWEG_DATA", str(tmp_path))
    base, token = "http://127.0.0.1:1", "t" * 43
    facts = {"pid": os.getpid(), "server": client.address, "data": str(tmp_path)}
    (tmp_path / "stack.json").write_text(
        json.dumps({**facts, "tracking": base, "tracking_pages": base})
    )
    (tmp_path / "mlflow-token").write_text(token)
    job = client.submit(sample())
    attempt = worker.claim()
    attempt.finish()
    page = f"{base}/#/experiments/1/runs/a"
    attempt.deliver(page, "a")
    link = talweg("open", job.id, "--print").out.strip()
    assert link.replace("/?", "/#").split("#")[2] == page.partition("#")[2]
    assert opens(urlsplit(link).query, token)
    # What another program reads may be kept, and so holds nothing that opens it.
    assert f"MLflow: {page}\n" in talweg("show", job.id).out
    assert job.refresh().tracking_url == page
    # The arguments of a program are seen by every user of the machine.
    assert talweg("open").out.startswith(f"{base}/?token=")
    assert talweg("open", job.id).status == 0
    file = Path(urlsplit(opened[-1]).path)
    assert opened == [file.as_uri()] * 2
    assert file.stat().st_mode & 0o777 == 0o600
    assert page.partition("#")[2] in file.read_text()
    # On a terminal a page opens by what is shown: by its address where MLflow knows its user.
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Terminal())
        assert opens(urlsplit(link_shown(page)).query, token)
        (tmp_path / "stack.json").write_text(
            json.dumps(
                {**facts, "tracking": base, "tracking_pages": base, "tracking_needs_token": False}
            )
        )
        assert link_shown(page) == page
    # Those of others are sent nothing.
    (tmp_path / "stack.json").write_text(
        json.dumps({**facts, "tracking": base, "tracking_pages": ""})
    )
    assert talweg("open", job.id).out == f"{page}\n"
    assert opened[-1] == page


def test_a_condition_selects_the_open_jobs(talweg: Talweg, client: Client, worker: Worker) -> None:
    first, second, other = client.submit_many(
        [
            *(sample(seed=seed, experiment="chosen") for seed in range(2)),
            sample(experiment="other"),
        ]
    )
    worker.claim().finish()
    done = talweg("pause", "--experiment", "chosen")
    assert (done.status, done.out) == (0, f"{second.id} is PAUSED\n")
    done = talweg("resume", "--experiment", "chosen")
    assert (done.status, done.out) == (0, f"{second.id} is QUEUED\n")
    done = talweg("cancel", "--experiment", "chosen")
    assert (done.status, done.out) == (0, f"{second.id} is CANCELLED\n")
    states = [job.refresh().state for job in (first, second, other)]
    assert states == [JobState.SUCCEEDED, JobState.CANCELLED, JobState.QUEUED]
    done = talweg("cancel", "--experiment", "chosen")
    assert done.status == 3
    assert 'none of the 2 jobs where experiment = "chosen" is still open' in done.err


@pytest.mark.parametrize("command", ["cancel", "pause", "resume", "watch", "open"])
def test_without_a_choice_nothing_is_done(talweg: Talweg, client: Client, command: str) -> None:
    job = client.submit(sample())
    for arguments in ((), (job.id, "--experiment", "x")):
        done = talweg(command, *arguments)
        assert done.status == 2
        assert "name jobs, or select them" in done.err
    assert job.refresh().state is JobState.QUEUED
