"""Take the screenshots of README.md, docs/results.md and docs/sweeps.md, light and dark.

    .venv/bin/python docs/screenshots/take.py [--data FOLDER] [--only jobs|sweep]

It starts an embedded stack on ports of its own, trains client/examples/diabetes_losses.yaml and
client/examples/sweeps/robust_regression.yaml (some minutes), waits until all results are in
MLflow, and writes PNG files beside this one. With --data the stack's folder is kept, and a second
call takes the pictures of its runs without training. --only takes those of the jobs, or of the
sweep, alone.

Needed besides talweg[all]: Chromium (on Debian: apt-get install chromium fonts-dejavu-core).
"""

import argparse
import io
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from browser import Browser, BrowserError
from PIL import Image

from talweg.client import Client, Job, Sweep, compare_url, read_jobs
from talweg.client._links import sweep_url
from talweg.client.cli._pages import opening
from talweg.client.sweeps.report import read, render
from talweg.spec.tracking import TRAINING_VIEW

T = TypeVar("T")

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "client/examples"
BATCH, SWEEP = EXAMPLES / "diabetes_losses.yaml", EXAMPLES / "sweeps/robust_regression.yaml"
EXPERIMENT, SWEEP_NAME = "diabetes losses", "robust regression"
MOST_BYTES = 150_000
START_SECONDS, DELIVERY_SECONDS, END_SECONDS = 180.0, 600.0, 60.0
# MLflow's pages open a panel for its assistant on the first visit.
SETTINGS = {
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.assistant.panelOpen_v1": "false",
}


def main() -> None:
    """Start the stack, train, and take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="the stack's folder; a temporary one if absent")
    parser.add_argument("--only", choices=("jobs", "sweep"), help="take these pictures alone")
    arguments = parser.parse_args()
    data: Path | None = arguments.data
    with_jobs, with_sweep = arguments.only != "sweep", arguments.only != "jobs"
    try:
        with Browser():
            # A browser that is missing is to be told of before minutes of training.
            pass
        with tempfile.TemporaryDirectory() as folder, stack(data or Path(folder)) as facts:
            with Client(facts["server"]) as client:
                jobs = delivered(client) if with_jobs else []
                sweep = delivered_sweep(client) if with_sweep else None
                report = Path(folder) / "report.html"
                if sweep is not None:
                    report.write_text(render(read(client, sweep)), "utf-8")
                for dark in (False, True):
                    with Browser(dark=dark) as browser:
                        set_up(browser, dark=dark)
                        suffix = "_dark" if dark else ""
                        if jobs:
                            take_all(browser, jobs, suffix=suffix)
                        if sweep is not None:
                            take_sweep(browser, sweep, report, suffix=suffix)
    except BrowserError as error:
        sys.exit(f"{sys.argv[0]}: {error}")


@contextmanager
def stack(data: Path) -> Iterator[dict[str, Any]]:
    """Run `talweg up`, and give what it writes about itself."""
    data.mkdir(parents=True, exist_ok=True)
    up = [sys.executable, "-m", "talweg.client.cli", "up", "--data", str(data), "--port", "0"]
    process = subprocess.Popen(up, stdout=subprocess.DEVNULL)
    try:

        def facts() -> dict[str, Any] | None:
            if process.poll() is not None:
                sys.exit(f"`{' '.join(up)}` ended with status {process.returncode}")
            file = data / "stack.json"
            facts: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
            is_up = facts.get("pid") == process.pid and "tracking" in facts.get("parts", {})
            return facts if is_up else None

        yield wait_for(facts, START_SECONDS, "the stack is up")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(END_SECONDS)


def delivered(client: Client) -> list[Job]:
    """Return the jobs of the batch, submitted unless they are there, once MLflow has all."""
    jobs = list(client.jobs(filter=f'experiment = "{EXPERIMENT}"', order_by="create_time"))
    jobs = client.wait(jobs or client.submit_many(read_jobs(BATCH)))
    for job in jobs:
        wait_for(
            lambda job=job: job.refresh().message.tracking.complete,  # type: ignore[misc]
            DELIVERY_SECONDS,
            f"the results of {job.name} are in MLflow",
        )
    return jobs


def delivered_sweep(client: Client) -> Sweep:
    """Return the sweep, created unless it is there, once MLflow has its runs and its summary."""
    there = [each for each in client.sweeps() if each.spec.display_name == SWEEP_NAME]
    sweep = there[0] if there else client.sweep(SWEEP)
    sweep.wait()
    for job in sweep.jobs():
        wait_for(
            lambda job=job: job.refresh().message.tracking.complete,  # type: ignore[misc]
            DELIVERY_SECONDS,
            f"the results of {job.name} are in MLflow",
        )
    wait_for(
        lambda: sweep.refresh().message.tracking.complete,
        DELIVERY_SECONDS,
        f"the summary of {sweep.name} is in MLflow",
    )
    return sweep


def wait_for(ask: Callable[[], T], seconds: float, what: str) -> T:
    """Return the first answer that is true."""
    until = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > until:
            sys.exit(f"not within {seconds:g} s: {what}")
        time.sleep(0.5)
    return answer


def set_up(browser: Browser, *, dark: bool) -> None:
    """Choose MLflow's colours, and leave its assistant closed."""
    chosen = {
        **SETTINGS,
        "_mlflow_dark_mode_toggle_enabled": "true" if dark else "false",
        "databricks-dark-mode-pref": "dark" if dark else "light",
    }
    browser.before_pages(
        f"try {{Object.entries({json.dumps(chosen)}).forEach(([k, v]) => "
        "localStorage.getItem(k) === null && localStorage.setItem(k, v))} catch {}"
    )


def take_all(browser: Browser, jobs: list[Job], *, suffix: str) -> None:
    """Take every picture in one set of colours."""
    comparison = compare_url(jobs, whole_experiment=True) or ""
    job = next(job for job in jobs if job.spec.loss.HasField("mae"))
    page = job.tracking_url or ""

    # The link lets the browser in; it needs none for the pages after it.
    browser.open(opening(comparison))
    browser.wait_for(has_text("Group: mae"))
    browser.wait_for("document.querySelectorAll('.js-plotly-plot').length >= 3")
    take(browser, f"charts{suffix}", 860)
    browser.open(comparison.replace("compareRunsMode=CHART", "compareRunsMode=TABLE"))
    browser.wait_for(has_text("Group: mae"))
    take(browser, f"runs{suffix}", 860)
    browser.open(page)
    browser.wait_for(has_text("Metrics (", "test/mae"))
    take(browser, f"run{suffix}", 900)
    browser.open(compared_page([job for job in jobs if job.spec.training.seed == 0]))
    browser.wait_for(has_text("Comparing", "test/mae"))
    browser.wait_for("document.querySelectorAll('.js-plotly-plot').length >= 1")
    take(browser, f"compare{suffix}", 1200)


def compared_page(jobs: list[Job]) -> str:
    """Return the address of the page that *Compare* leads to from ticked runs."""
    runs = [job.message.tracking for job in jobs]
    base = runs[0].url.partition("/#/")[0]
    ids = json.dumps([run.run_id for run in runs])
    experiments = json.dumps([runs[0].experiment_id])
    query = f"runs={quote(ids)}&experiments={quote(experiments)}&{TRAINING_VIEW}"
    return f"{base}/#/compare-runs?{query}"


def take_sweep(browser: Browser, sweep: Sweep, report: Path, *, suffix: str) -> None:
    """Take the pictures of a sweep in one set of colours."""
    charts = sweep_url(sweep) or ""
    browser.open(charts)
    browser.wait_for(has_text("Parallel Coordinates"))
    browser.wait_for("document.querySelectorAll('.js-plotly-plot').length >= 2")
    take(browser, f"sweep_charts{suffix}", 900)
    browser.open(charts.replace("compareRunsMode=CHART", "compareRunsMode=TABLE"))
    browser.wait_for(has_text("Parameters", "training.seed"))
    take(browser, f"sweep_runs{suffix}", 860)
    browser.open(sweep.tracking_url or "")
    browser.wait_for(has_text("Metrics (", "best/test/mae"))
    take(browser, f"sweep_summary{suffix}", 900)
    browser.open(report.as_uri())
    browser.wait_for(has_text("Compared values"))
    take(browser, f"sweep_report{suffix}", 900)


def take(browser: Browser, name: str, height: int) -> None:
    """Take one picture of what the browser shows."""
    browser.resize(height)
    browser.settle()
    save(browser.picture(), HERE / f"{name}.png")


def has_text(*texts: str) -> str:
    """Return a condition of JavaScript: the page shows all texts."""
    return f"{json.dumps(texts)}.every(text => document.body.innerText.includes(text))"


def save(picture: bytes, path: Path) -> None:
    """Write a PNG with a palette, as small as MOST_BYTES asks for."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64, 32):
        small = image.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            print(f"{path.name}: {path.stat().st_size // 1000} kB, {colours} colours")
            return
    sys.exit(f"{path} has {path.stat().st_size} bytes, but at most {MOST_BYTES} are allowed")


if __name__ == "__main__":
    main()
