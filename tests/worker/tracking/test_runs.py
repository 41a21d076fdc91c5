"""MLflow as the delivery sees it."""

import pytest

from talweg.worker.tracking.runs import Runs, TrackingAwayError


def test_an_error_does_not_tell_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # Nobody listens on port 1.
    runs = Runs("http://somebody:secret@127.0.0.1:1")
    with pytest.raises(TrackingAwayError, match="http://127.0.0.1:1/") as raised:
        runs.experiment("any")
    assert "secret" not in str(raised.value)
