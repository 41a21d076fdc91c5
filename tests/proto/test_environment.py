"""What processes that handle untrusted files are told of the environment."""

import pytest

from talweg.spec.local.environment import without_secrets


def test_secrets_stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TALWEG_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.setenv("PYTHONPATH", "/plugins")
    assert "secret" not in without_secrets().values()
    assert without_secrets()["PATH"] == "/bin"
    assert "PYTHONPATH" not in without_secrets()
    assert without_secrets("PYTHONPATH")["PYTHONPATH"] == "/plugins"
