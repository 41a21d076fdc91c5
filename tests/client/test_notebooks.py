"""What notebooks get: data frames, and HTML in which nothing of elsewhere is markup."""

import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client, _html
from talweg.client import _jobs as jobs_module
from talweg.client._values import JobMetrics

EVIL = '<script>alert(1)</script> & "quoted"'


class Tags(HTMLParser):
    def __init__(self, content: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


def trained(client: Client, worker: Worker, **fields: Any) -> str:
    job = client.submit(sample(**fields))
    attempt = worker.claim()
    for step in range(1, 6):
        attempt.report(step=step, metrics={"train/loss_mean": 1.0 / step, "val/loss": 2.0 / step})
    attempt.finish(metrics={"test/mae": 4.5})
    return job.name


def test_points_become_a_frame(client: Client, worker: Worker) -> None:
    metrics = client.job(trained(client, worker)).metrics(points=True)
    frame = metrics.to_pandas()
    assert frame.index.name == "step"
    assert list(frame.index) == [1, 2, 3, 4, 5, 10]
    assert frame.loc[4, "val/loss"] == 0.5
    assert frame["test/mae"].dropna().to_dict() == {10: 4.5}
    assert JobMetrics({}, ()).to_pandas().empty


def test_a_comparison_becomes_a_frame(client: Client, worker: Worker) -> None:
    names = [trained(client, worker, loss=loss) for loss in ("mse", "mae")]
    comparison = client.compare(names, metric="test/mae")
    frame = comparison.to_pandas()
    assert set(frame["loss"]) == {"mse", "mae"}
    assert set(frame["job"]) == set(names)
    assert list(frame["test/mae"]) == [4.5, 4.5]
    shown = comparison._repr_html_()
    assert "table" in Tags(shown).seen
    assert "test/mae (lower is better), by loss" in shown


def test_a_job_shows_its_curves_and_its_newest_state(client: Client, worker: Worker) -> None:
    handle = client.submit(sample(display_name=EVIL))
    attempt = worker.claim()
    for step in (1, 2):
        attempt.report(step=step, metrics={"val/loss": 1.0 / step})
    attempt.finish(metrics={"test/mae": 4.5})
    attempt.deliver("http://127.0.0.1:5000/#/experiments/1/runs/r", "r")
    shown = handle._repr_html_()
    assert "SUCCEEDED" in shown
    assert "test/mae <b>4.5</b>" in shown
    assert "run in MLflow" in shown
    tags = Tags(shown).seen
    assert "script" not in tags
    assert {"svg", "polyline", "a"} <= set(tags)


def test_curves_are_well_formed_and_take_any_values() -> None:
    series = {
        EVIL: [(1, 1.0), (2, float("nan")), (3, 1e6)],
        "short": [(1, 1.0)],
        "flat": [(1, 2.0), (9, 2.0)],
    }
    drawn = _html.curves(series)
    svg = ET.fromstring(drawn[: drawn.index("</svg>") + 6])
    assert len(list(svg)) == 2
    assert "script" not in Tags(drawn).seen
    assert "logarithmic" in drawn
    assert "\x1b" not in drawn
    assert _html.curves({}) == _html.curves({"short": [(1, 1.0)]}) == ""
    many = _html.curves({"long": [(step, float(step)) for step in range(100_000)]})
    assert len(many) < 20_000


def test_a_link_is_to_a_page_alone() -> None:
    assert Tags(_html.link("javascript:alert(1)", "x")).seen == []
    assert Tags(_html.link('http://x/"onclick=', "x")).seen == ["a"]
    assert '"onclick' not in _html.link('http://x/"onclick=', "x")


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        JobMetrics({}, ()).to_pandas()


def test_a_state_is_of_a_second_ago_at_most(
    client: Client, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.submit(sample())
    worker.claim().finish()
    monkeypatch.setattr(jobs_module, "FRESH_SECONDS", 0.0)
    assert job.state == "SUCCEEDED"
    calls = []
    monkeypatch.setattr(job, "refresh", lambda: calls.append(1))
    assert job.state == "SUCCEEDED"
    assert calls == []


def test_the_page_of_a_run_is_asked_for_until_there_is_one(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    attempt = worker.claim()
    attempt.finish()
    assert job.result().tracking_url is None
    assert job.tracking_url is None
    attempt.deliver("http://127.0.0.1:5000/#/experiments/1/runs/r", "r")
    assert job.tracking_url == "http://127.0.0.1:5000/#/experiments/1/runs/r"
