"""The code of the guides runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from tests._parts import wait_until
from tests.integration.stack import Stack

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[str]:
    found = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    assert found
    return found


def test_the_session_of_the_client_guide_and_the_prediction_of_the_results_page(
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TALWEG_ADDRESS", stack.address)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("client.md"):
        if ".register(" in block:
            wait_until(
                lambda: names["job"].refresh().message.tracking.complete,
                timeout=240,
                what="the model is in MLflow",
            )
        exec(compile(block, "client.md", "exec"), names)
    assert "SUCCEEDED" in capsys.readouterr().out
    assert names["best"] in ("mse", "huber")
    assert list(names["frame"]["val/mae"].dropna()) == list(names["values"])
    assert len(names["rows"]) == 6
    assert len(names["predictions"]) == 5
    assert names["sweep"].state == "SUCCEEDED"
    assert names["answer"].comparison is not None
    assert set(names["verdicts"]["group"]) == {"mse", "huber"}
    assert len(names["last_steps"]) == 3
    assert min(names["last_steps"]) > 0
    assert (tmp_path / "trained").is_dir()
    with stack.client() as client:
        wait_until(
            lambda: all(
                job.message.tracking.complete
                for job in client.jobs(filter='experiment = "client guide"')
            ),
            timeout=240,
            what="all models are in MLflow",
        )
        job = client.job(names["jobs"][0].name)
        url = job.tracking_url
        rows = load_diabetes(as_frame=True).data.head(6)
        rows.to_csv(tmp_path / "new.csv", index=False)
        found: dict[str, Any] = {
            "tracking_uri": stack.tracking,
            "job": job,
            "frame": rows,
            "x": torch.tensor(rows.to_numpy(), dtype=torch.float32),
        }
        for block in blocks("results.md"):
            exec(compile(block, "results.md", "exec"), found)
    # The session may have asked for it too early.
    assert names["url"] in (None, url)
    assert url is not None
    assert url.startswith(stack.tracking)
    assert np.asarray(found["predictions"]).shape == (2, 1)
    np.testing.assert_array_equal(found["predicted_frame"], found["predictions"])
    values = [
        next(metric.value for metric in model.metrics if metric.key == "test/mae")
        for model in found["models"]
    ]
    assert values == sorted(values)
    assert len(values) == 7
