"""The code of the guides runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._parts import wait_until
from tests.integration.stack import Stack

DOCS = Path(__file__).parents[2] / "docs"


def code(page: str) -> str:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    assert blocks
    return "\n".join(blocks)


def test_the_session_of_the_client_guide_and_the_prediction_of_the_results_page(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TALWEG_ADDRESS", stack.address)
    names: dict[str, Any] = {}
    exec(compile(code("client.md"), "client.md", "exec"), names)
    assert "SUCCEEDED" in capsys.readouterr().out
    assert names["best"] in ("mse", "huber")
    assert list(names["frame"]["val/mae"].dropna()) == list(names["values"])
    assert len(names["rows"]) == 6
    with stack.client() as client:
        wait_until(
            lambda: all(
                job.message.tracking.complete
                for job in client.jobs(filter='experiment = "client guide"')
            ),
            timeout=240,
            what="all models are in MLflow",
        )
        url = client.job(names["jobs"][0].name).tracking_url
    # The session may have asked for it too early.
    assert names["url"] in (None, url)
    assert url is not None
    assert url.startswith(stack.tracking)
    found: dict[str, Any] = {"tracking_uri": stack.tracking}
    exec(compile(code("results.md"), "results.md", "exec"), found)
    assert np.asarray(found["predictions"]).shape == (2, 1)
    np.testing.assert_array_equal(found["predicted_frame"], found["predictions"])
    values = [
        next(metric.value for metric in model.metrics if metric.key == "test/mae")
        for model in found["models"]
    ]
    assert values == sorted(values)
    assert len(values) == 7
