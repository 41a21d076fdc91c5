"""The models of the baselines, with their default settings."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from talweg.v1.spec_pb2 import Baselines

BOOSTING, LINEAR = "gradient_boosting", "linear"
"""Under these names their metrics stand: gradient_boosting/mae, linear/mae."""

_ITERATIONS = 1000
_ALPHAS = np.logspace(-3, 3, 13)

Numbers = NDArray[Any]


def classifiers(asked: Baselines, *, seed: int) -> Iterator[tuple[str, Any]]:
    """Make the models of classes that are asked for, by name."""
    if asked.gradient_boosting:
        yield BOOSTING, HistGradientBoostingClassifier(random_state=seed)
    if asked.linear:
        # Not all inputs come standardised, and linear models need it.
        yield LINEAR, make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))


def regressors(asked: Baselines, *, seed: int, several: bool) -> Iterator[tuple[str, Any]]:
    """Make the models of one number a sample, or of several, that are asked for, by name."""
    if asked.gradient_boosting:
        boosting = HistGradientBoostingRegressor(random_state=seed)
        yield BOOSTING, MultiOutputRegressor(boosting) if several else boosting
    if asked.linear:
        yield LINEAR, make_pipeline(StandardScaler(), RidgeCV(alphas=_ALPHAS))


def discriminant() -> Any:
    """Make the linear model of embeddings."""
    # Of images many pixels may hardly vary, which the default solver bears.
    return LinearDiscriminantAnalysis()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep what is trained and predicted within to one thread.

    The threads of OpenMP and BLAS wait by spinning. On a machine with other work models take many
    times as long on two of them as on one.
    """
    with threadpool_limits(1):
        yield


def probabilities(model: Any, x: Numbers, num_classes: int) -> NDArray[np.float64]:
    """Return the probability of each class (N, C); 0 of those that training has not seen."""
    shares = np.zeros((len(x), num_classes))
    shares[:, model.classes_] = model.predict_proba(x)
    return shares
