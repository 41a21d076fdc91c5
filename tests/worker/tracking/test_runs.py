"""MLflow as the delivery sees it."""

import pytest

from talweg.worker.tracking.errors import TrackingAwayError
from talweg.worker.tracking.runs import RunId, Runs


def test_an_error_does_not_tell_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # Nobody listens on port 1.
    runs = Runs("http://somebody:secret@127.0.0.1:1")
    with pytest.raises(TrackingAwayError, match="http://127.0.0.1:1/") as raised:
        runs.experiment("any")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("public", "expected"),
    [
        (None, "http://mlflow:5000/"),
        ("https://user:secret@ml.example/base", "https://ml.example/base/"),
    ],
)
def test_links_are_for_people(public: str | None, expected: str) -> None:
    runs = Runs("http://name:secret@mlflow:5000", public_uri=public)
    page = "#/experiments/1/runs/r?workflowType=machine_learning"
    assert runs.url(RunId("r", "1")) == expected + page
