"""What scikit-learn's usual models reach on the same split: what a network should beat."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from talweg.v1.spec_pb2 import Baselines, JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.data.large import is_large
from talweg.worker.tasks import OneTarget, Predictions, TaskRunner

BOOSTING, LINEAR = "gradient_boosting", "linear"
"""Under these names their metrics stand: gradient_boosting/mae, linear/mae."""

# Ridge regression and logistic regression take so long on more; boosting does not.
_MOST_NUMBERS = 50_000_000
_ITERATIONS = 1000
_ALPHAS = np.logspace(-3, 3, 13)

Floats = NDArray[np.float64]


def is_for(task: TaskRunner, bundle: DataBundle) -> bool:
    """Return whether the baselines are models for a task: one target a sample, of vectors."""
    y = bundle.train.arrays.get("y")
    return isinstance(task, OneTarget) and y is not None and y.ndim == 1


def baseline_metrics(
    task: TaskRunner, spec: JobSpec, bundle: DataBundle, tested: Predictions
) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Train the models that a spec asks for, and evaluate them on the test data.

    They see what the network sees: the same training samples, with outliers put in where they
    are, and preprocessed alike. Images are taken as vectors of their pixels. The validation data
    are used by none of them.

    Args:
        task: Its metrics are taken; see `is_for`.
        spec: The job's, filled.
        bundle: Its data.
        tested: What the network says of the test data: the true values, and which form the
            probabilities have.

    Yields:
        Name and metrics, one model after another.
    """
    assert isinstance(task, OneTarget)
    asked = spec.diagnostics.baseline
    if is_large(bundle.train.x.nbytes):
        # None of them learns from what does not fit in memory.
        return
    x, x_test = (_vectors(split.x.numpy()) for split in (bundle.train, bundle.test))
    y = bundle.train.y.numpy().astype(np.float64)
    is_regression = tested.probabilities is None and tested.y_true.dtype.kind == "f"
    if is_regression and bundle.target_scaler is not None:
        y = bundle.target_scaler.unscale(y)
    seed = spec.training.seed
    for name, model in _models(asked, is_regression=is_regression, seed=seed, size=x.size):
        if is_regression:
            model.fit(x, y)
            yield name, task.all_metrics(Predictions(tested.y_true, model.predict(x_test)))
            continue
        model.fit(x, y.astype(np.int64))
        yield name, task.all_metrics(_classified(model, x_test, tested, bundle.num_targets))


def _models(
    asked: Baselines, *, is_regression: bool, seed: int, size: int
) -> Iterator[tuple[str, Any]]:
    if asked.gradient_boosting:
        boosting = (
            HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
        )
        yield BOOSTING, boosting(random_state=seed)
    if asked.linear and size <= _MOST_NUMBERS:
        linear: Any
        if is_regression:
            linear = RidgeCV(alphas=_ALPHAS)
        else:
            linear = LogisticRegression(max_iter=_ITERATIONS)
        # Not all inputs come standardised, and both models need it.
        yield LINEAR, make_pipeline(StandardScaler(), linear)


def _classified(model: Any, x: Floats, tested: Predictions, num_classes: int) -> Predictions:
    """Return classes and probabilities in the form of the network's."""
    num_classes = max(num_classes, 2)
    shares = np.zeros((len(x), num_classes))
    # Classes that training has not seen have no column, and never come.
    shares[:, model.classes_] = model.predict_proba(x)
    y_pred = shares.argmax(axis=1).astype(tested.y_true.dtype)
    single = tested.probabilities is not None and tested.probabilities.ndim == 1
    return Predictions(tested.y_true, y_pred, probabilities=shares[:, 1] if single else shares)


def _vectors(x: NDArray[Any]) -> Floats:
    return x.reshape(len(x), -1).astype(np.float64)
