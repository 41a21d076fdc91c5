"""Baselines of scikit-learn: the same as a user would get by hand, and the training untouched."""

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    log_loss,
    mean_absolute_error,
    roc_auc_score,
)
from sklearn.neighbors import NearestNeighbors
from tests.worker.training.jobs import job, run
from threadpoolctl import threadpool_info, threadpool_limits

from talweg.v1.jobs_pb2 import Job
from talweg.worker import data, diagnostics
from talweg.worker.diagnostics.stopping import StoppedError, until_stopped
from talweg.worker.training import RecordingReporter, Stop

SHORT: dict[str, Any] = {"training": {"epochs": 2}, "model": {"mlp": {"hidden": [8]}}}
ALL: dict[str, Any] = {"diagnostics": {"baseline": {}}}


def told(**fields: Any) -> tuple[dict[str, float], Any, Any]:
    spec = job(**{**SHORT, **fields})
    _, report = run(spec)
    return (
        {name: value for _, values in report.points for name, value in values.items()},
        spec,
        report,
    )


def told_names(report: RecordingReporter) -> set[str]:
    return {name for _, values in report.points for name in values}


def parts(spec: Any) -> Any:
    bundle = data.load(spec)
    x, x_test = (part.x.numpy().reshape(len(part), -1).astype(float)
                 for part in (bundle.train, bundle.test))  # fmt: skip
    return x, bundle.train.y.numpy().astype(float), x_test, bundle.test.y.numpy(), bundle


def test_regression_in_the_targets_own_units() -> None:
    values, spec, _ = told(task="regression", dataset="diabetes", loss="mse", **ALL)
    x, y, x_test, y_test, bundle = parts(spec)
    y, y_test = bundle.target_scaler.unscale(y), bundle.target_scaler.unscale(y_test)
    boosted = HistGradientBoostingRegressor(random_state=0).fit(x, y).predict(x_test)
    assert values["gradient_boosting/mae"] == pytest.approx(mean_absolute_error(y_test, boosted))
    assert {"linear/mae", "linear/rmse", "linear/r2"} <= values.keys()
    ridge = RidgeCV(alphas=np.logspace(-3, 3, 13)).fit(x, y).predict(x_test)
    assert values["linear/mae"] == pytest.approx(mean_absolute_error(y_test, ridge), rel=1e-3)


def test_two_classes_and_several() -> None:
    # The threshold is the task's, for the baselines too.
    task, loss = {"binary": {"threshold": 0.999}}, "bce_with_logits"
    values, spec, _ = told(task=task, dataset="breast_cancer", loss=loss, **ALL)
    x, y, x_test, y_test, _ = parts(spec)
    boosted = HistGradientBoostingClassifier(random_state=0).fit(x, y)
    scores = boosted.predict_proba(x_test)[:, 1]
    expected = accuracy_score(y_test, scores >= 0.999)
    assert values["gradient_boosting/accuracy"] == expected
    assert expected < accuracy_score(y_test, boosted.predict(x_test))
    assert values["gradient_boosting/auroc"] == pytest.approx(roc_auc_score(y_test, scores))
    values, spec, _ = told(task="multiclass", dataset="digits", loss="cross_entropy",
                           model={"convnet": {"channels": [4]}},
                           diagnostics={"baseline": {"gradient_boosting": False}})  # fmt: skip
    x, y, x_test, y_test, _ = parts(spec)
    logistic = LogisticRegression(max_iter=1000).fit(x, y)
    assert values["linear/accuracy"] == pytest.approx(
        accuracy_score(y_test, logistic.predict(x_test)), abs=0.03
    )
    assert log_loss(y_test, logistic.predict_proba(x_test)) < 0.5
    assert not [name for name in values if name.startswith("gradient_boosting")]


def test_the_training_is_the_same_and_none_is_trained_unasked() -> None:
    fields: dict[str, Any] = {"task": "regression", "dataset": "diabetes", "loss": "mse"}
    alone, *_ = told(**fields)
    beside, _, report = told(**fields, **ALL)
    others = [name for name in beside if name.startswith(("gradient_boosting", "linear"))]
    assert {name: beside[name] for name in alone if name.startswith(("val", "test"))} == {
        name: value for name, value in alone.items() if name.startswith(("val", "test"))
    }
    assert others
    assert not [name for name in alone if name in others]
    assert any("gradient_boosting (scikit-learn) reaches mae" in line for line in report.lines)


def test_several_numbers_and_several_labels() -> None:
    values, spec, _ = told(
        task="regression", dataset={"synthetic_regression": {"num_targets": 2}}, loss="mse", **ALL
    )
    x, y, x_test, y_test, bundle = parts(spec)
    y, y_test = bundle.target_scaler.unscale(y), bundle.target_scaler.unscale(y_test)
    ridge = RidgeCV(alphas=np.logspace(-3, 3, 13)).fit(x, y).predict(x_test)
    assert values["linear/mae"] == pytest.approx(mean_absolute_error(y_test, ridge), rel=1e-2)
    boosted = [HistGradientBoostingRegressor(random_state=0).fit(x, of).predict(x_test)
               for of in y.T]  # fmt: skip
    error = mean_absolute_error(y_test, np.stack(boosted, axis=1))
    assert values["gradient_boosting/mae"] == pytest.approx(error, rel=1e-6)
    labels = {"synthetic_multilabel": {"num_samples": 300}}
    values, spec, _ = told(task="multilabel", dataset=labels, loss="bce_with_logits", **ALL)
    x, y, x_test, y_test, _ = parts(spec)
    linear = [LogisticRegression(max_iter=1000).fit(x, of).predict_proba(x_test)[:, 1]
              for of in y.T]  # fmt: skip
    precision = average_precision_score(y_test, np.stack(linear, axis=1), average="macro")
    assert values["linear/map"] == pytest.approx(precision, abs=0.02)
    assert values["gradient_boosting/f1_macro"] > 0.5


def test_embeddings_beside_linear_discriminant_analysis() -> None:
    values, spec, _ = told(task="metric_learning", dataset="digits", loss="triplet",
                           model="embedder", **ALL)  # fmt: skip
    x, y, x_test, y_test, _ = parts(spec)
    vectors = LinearDiscriminantAnalysis().fit(x, y).transform(x_test)
    nearest = NearestNeighbors(n_neighbors=1).fit(vectors).kneighbors(return_distance=False)
    hits = y_test[nearest[:, 0]] == y_test
    assert values["linear/recall_at_1"] == pytest.approx(hits.mean(), abs=0.01)
    assert {"linear/recall_at_5", "linear/verification_auroc"} <= values.keys()
    assert not [name for name in values if name.startswith("gradient_boosting")]


def test_tasks_without_a_baseline_say_so() -> None:
    values, _, report = told(task="vae", dataset="digits", loss="vae", model="autoencoder", **ALL)
    assert not [name for name in values if name.startswith(("gradient_boosting", "linear"))]
    assert any("no baselines for this task" in line for line in report.lines)


def test_boosting_is_left_out_of_many_inputs_and_said_so() -> None:
    values, _, report = told(
        task="multiclass",
        dataset={"synthetic_classification": {"num_features": 2600, "num_classes": 4,
                                              "num_samples": 200}},
        loss="cross_entropy",
        **ALL,
    )  # fmt: skip
    assert "linear/accuracy" in values
    assert not [name for name in values if name.startswith("gradient_boosting")]
    [line] = [line for line in report.lines if "left out" in line]
    assert "2,600 inputs for each of 4 classes" in line
    assert "up to 2,500" in line


@pytest.mark.parametrize(
    ("reason", "state"),
    [("cancel", Job.CANCELLED), ("pause", Job.PAUSED), ("time_limit", Job.SUCCEEDED)],
)
def test_a_run_stops_while_a_baseline_learns(reason: Any, state: int) -> None:
    """Boosting of ten classes takes seconds, and asks nobody whether to go on."""
    report = RecordingReporter()

    class Control:
        num_asked = 0

        def check(self) -> Stop | None:
            self.num_asked += "test/accuracy" in told_names(report)
            return Stop(reason) if self.num_asked > 1 else None

    spec = job(**SHORT, task="multiclass", dataset="digits", loss="cross_entropy", **ALL)
    before = signal.getsignal(signal.SIGALRM)
    result = diagnostics.run(spec, report=report, control=Control(), device="cpu")
    assert result.state == state
    assert not [name for name in told_names(report) if name.startswith(("gradient", "linear"))]
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_stop_that_a_library_takes_for_its_own_error_is_one() -> None:
    num_asked = 0

    class Control:
        def check(self) -> Stop | None:
            nonlocal num_asked
            num_asked += 1
            return Stop("pause") if num_asked > 1 else None

    def items() -> Iterator[int]:
        try:
            # Until the signal comes, as deep in a library.
            while True:
                hash(())
        except Exception as exc:
            raise ValueError("no valid format") from exc
        yield 1

    with pytest.raises(StoppedError, match="pause"):
        list(until_stopped(items(), Control()))


def test_boosting_keeps_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = HistGradientBoostingRegressor.fit
    threads: list[int] = []

    def counting(self: Any, *arguments: Any) -> Any:
        threads.extend(
            library["num_threads"]
            for library in threadpool_info()
            if library["user_api"] == "openmp"
        )
        return fit(self, *arguments)

    monkeypatch.setattr(HistGradientBoostingRegressor, "fit", counting)
    with threadpool_limits(2, user_api="openmp"):
        told(task="regression", dataset="diabetes", loss="mse", **ALL)
    assert set(threads) == {1}
