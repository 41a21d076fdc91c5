"""What notebooks get: data frames, and HTML in which nothing of elsewhere is markup."""

import pickle
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest
from tests._parts import Server
from tests.client.samples import sample
from tests.client.test_screens import luminance
from tests.client.worker import Worker

from talweg.client import Client, Comparison, Goal
from talweg.client import _handle as handle_module
from talweg.client._values import JobMetrics
from talweg.client.notebooks import curves, html

PAGE = "http://127.0.0.1:5000/#/experiments/1/runs/r"
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
        losses = {"train/loss_mean": 1.0 / step, "val/loss": 2.0 / step}
        attempt.report(step=step, metrics={**losses, "val/mae": 40.0 / step})
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
    drawn = curves.of_series(series)
    svg = ET.fromstring(drawn[: drawn.index("</svg>") + 6])
    assert len(svg.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert "script" not in Tags(drawn).seen
    assert "logarithmic" in drawn
    assert "\x1b" not in drawn
    assert curves.of_series({}) == curves.of_series({"short": [(1, 1.0)]}) == ""
    many = curves.of_series({"long": [(step, float(step)) for step in range(100_000)]})
    assert len(many) < 20_000


def test_a_link_is_to_a_page_alone() -> None:
    assert Tags(html.link("javascript:alert(1)", "x")).seen == []
    assert Tags(html.link('http://x/"onclick=', "x")).seen == ["a"]
    assert '"onclick' not in html.link('http://x/"onclick=', "x")


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        JobMetrics({}, ()).to_pandas()


def test_a_state_is_of_a_second_ago_at_most(
    client: Client, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.submit(sample())
    worker.claim().finish()
    monkeypatch.setattr(handle_module, "FRESH_SECONDS", 0.0)
    assert job.state == "SUCCEEDED"
    calls = []
    monkeypatch.setattr(job, "refresh", lambda: calls.append(1))
    assert job.state == "SUCCEEDED"
    assert calls == []


def test_the_page_of_a_run_is_asked_for_until_there_is_one(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    attempt = worker.claim()
    attempt.finish()
    result = job.result()
    assert result.tracking_url is None
    assert job.tracking_url is None
    attempt.deliver(PAGE, "r")
    assert result.tracking_url == PAGE
    assert job.tracking_url == PAGE
    copy = pickle.loads(pickle.dumps(result))
    assert copy == result
    assert copy.tracking_url == PAGE


def test_a_result_without_its_client_has_no_page(server_process: Server) -> None:
    with Client(server_process.address) as client, Worker(server_process.address) as worker:
        job = client.submit(sample())
        worker.claim().finish()
        result = job.result()
    assert result.tracking_url is None


def test_a_comparison_draws_the_mean_of_each_group(client: Client, worker: Worker) -> None:
    names = [trained(client, worker, loss=loss) for loss in ("mse", "mse", "mae")]
    comparison = client.compare(names, metric="test/mae")
    shown = comparison._repr_html_()
    seen = Tags(shown).seen
    # A line for each loss, and a band where it has several seeds.
    assert (seen.count("polyline"), seen.count("polygon")) == (2, 1)
    assert "val/mae by step: mean of each group" in shown
    course = [(step, 2.0 / step) for step in range(1, 6)]
    by_loss = {group.labels[0]: group.count for group in comparison.groups}
    assert by_loss == {"mse": 2, "mae": 1}
    assert [len(of_group) for of_group in comparison.series("val/loss")] == [*by_loss.values()]
    assert comparison.series("val/loss")[0][0] == course
    # A metric of which no points are on record has no course to draw.
    assert "svg" not in Tags(client.compare(names, metric="test/r2")._repr_html_()).seen
    copy = pickle.loads(pickle.dumps(comparison))
    assert copy == comparison
    assert "svg" not in Tags(copy._repr_html_()).seen


def test_the_curve_of_a_test_metric_is_that_of_its_validation() -> None:
    def metric_of(metric: str) -> str:
        return Comparison(metric, Goal.MINIMIZE, ("loss",), ()).curve_metric

    assert metric_of("test/mae") == metric_of("val/mae") == "val/mae"
    assert metric_of("train/loss") == "train/loss"


def test_a_mean_is_over_all_runs_at_steps_that_all_have_reached() -> None:
    curve = curves.mean_curve("x", [[(0, 1.0), (4, 5.0)], [(0, 3.0), (2, 3.0), (8, 99.0)]])
    assert list(curve.points) == [(0, 2.0), (2, 3.0), (4, (5.0 + 3.0 + 96.0 * 2 / 6) / 2)]
    assert curve.band[1] == (3.0, 3.0)
    assert curve.band[0] == pytest.approx((2 - 2**0.5, 2 + 2**0.5))
    alone = curves.mean_curve("x", [[(0, 1.0), (4, float("nan")), (5, 2.0)]])
    assert (list(alone.points), list(alone.band)) == ([(0, 1.0), (5, 2.0)], [])
    assert not curves.mean_curve("x", [[], []]).points


def test_a_band_below_zero_can_be_drawn_by_logarithms() -> None:
    wide = curves.mean_curve("x", [[(0, 1e5), (1, 1.0)], [(0, 1.0), (1, 1.0)]])
    drawn = curves.drawn([wide])
    assert "logarithmic" in drawn
    assert "nan" not in drawn
    ET.fromstring(drawn[: drawn.index("</svg>") + 6])


@pytest.mark.parametrize("colour", curves.COLOURS)
def test_curves_can_be_read_on_dark_and_light(colour: str) -> None:
    """By the contrast that WCAG asks of graphics, 3 to 1."""
    assert 3 <= 1.05 / (luminance(colour) + 0.05) <= 21 / 3
