"""What scikit-learn's usual models reach on the same split: what a network should beat."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.data.large import is_large
from talweg.worker.tasks import OneTarget, Predictions, TaskRunner

BOOSTING, LINEAR = "gradient_boosting", "linear"
"""Under these names their metrics stand: gradient_boosting/mae, linear/mae."""

# Ridge regression and logistic regression take so long on more; boosting does not.
_MOST_NUMBERS = 50_000_000
_ITERATIONS = 1000
# Boosting looks at every column for each tree, and grows one tree per class in each round: so
# many take about a minute of one core, on a thousand samples.
_MOST_COLUMNS = 10_000
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
    boosts = asked.gradient_boosting and not boosting_left_out(spec, bundle)
    for name, model in _models(
        boosts=boosts,
        is_linear=asked.linear and x.size <= _MOST_NUMBERS,
        is_regression=is_regression,
        seed=seed,
    ):
        # The threads of OpenMP wait by spinning. On a machine with other work boosting on two of
        # them takes many times as long as on one.
        with threadpool_limits(1, user_api="openmp"):
            model.fit(x, y if is_regression else y.astype(np.int64))
        if is_regression:
            yield name, task.all_metrics(Predictions(tested.y_true, model.predict(x_test)))
            continue
        yield name, task.all_metrics(_classified(model, x_test, tested, bundle.num_targets))


def boosting_left_out(spec: JobSpec, bundle: DataBundle) -> str:
    """Say why boosting, though it is asked for, would take too long; empty where it does not."""
    columns = math.prod(bundle.train.x.shape[1:])
    # Of two classes there is one tree in each round, as of numbers.
    trees = bundle.num_targets if bundle.num_targets > 2 else 1
    if not spec.diagnostics.baseline.gradient_boosting or columns * trees <= _MOST_COLUMNS:
        return ""
    per_class = f" for each of {trees} classes" if trees > 1 else ""
    return (
        f"{BOOSTING} (scikit-learn) is left out: {columns:,} inputs{per_class} would take it "
        f"minutes. It is trained for up to {_MOST_COLUMNS // trees:,}"
    )


def _models(
    *, boosts: bool, is_linear: bool, is_regression: bool, seed: int
) -> Iterator[tuple[str, Any]]:
    if boosts:
        boosting = (
            HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
        )
        yield BOOSTING, boosting(random_state=seed)
    if is_linear:
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
