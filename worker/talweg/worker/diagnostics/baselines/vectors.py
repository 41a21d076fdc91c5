"""Baselines of tasks with targets for each sample: models of the inputs as vectors."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.v1.spec_pb2 import Baselines, JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.diagnostics.baselines import models
from talweg.worker.tasks import OneTarget, Predictions
from talweg.worker.tasks.metric_learning.metrics import vector_metrics

# Ridge regression and logistic regression take so long on more; boosting does not.
_MOST_NUMBERS = 50_000_000
# Boosting looks at every column for each tree, and grows one tree per class in each round: so
# many take about a minute of one core, on a thousand samples.
_MOST_COLUMNS = 10_000

Floats = NDArray[np.float64]
Metrics = Iterator[tuple[str, Mapping[str, float]]]


def metrics(task: OneTarget, spec: JobSpec, bundle: DataBundle, tested: Predictions) -> Metrics:
    """Train the models that a spec asks for, and evaluate them on the test data.

    Images are taken as vectors of their pixels. Of several labels each has a model of its own.

    Args:
        task: Its metrics are taken.
        spec: The job's, filled.
        bundle: Its data.
        tested: What the network says of the test data: the true values, and which form the
            probabilities have.

    Yields:
        Name and metrics, one model after another.
    """
    asked = Baselines()
    asked.CopyFrom(spec.diagnostics.baseline)
    x, x_test = (_vectors(split.x.numpy()) for split in (bundle.train, bundle.test))
    asked.gradient_boosting &= not boosting_left_out(spec, bundle)
    asked.linear &= x.size <= _MOST_NUMBERS
    y = bundle.train.y.numpy().astype(np.float64)
    seed = spec.training.seed
    if tested.probabilities is None and tested.y_true.dtype.kind == "f":
        if bundle.target_scaler is not None:
            y = bundle.target_scaler.unscale(y)
        for name, model in models.regressors(asked, seed=seed, several=y.ndim > 1):
            with models.one_thread():
                y_pred = model.fit(x, y).predict(x_test).reshape(tested.y_true.shape)
            yield name, task.all_metrics(Predictions(tested.y_true, y_pred))
        return
    if y.ndim > 1:
        threshold = spec.task.multilabel.threshold
        for name, shares in _labelled(asked, seed, x, y.astype(np.int64), x_test):
            labels = (shares >= threshold).astype(tested.y_true.dtype)
            yield name, task.all_metrics(Predictions(tested.y_true, labels, shares))
        return
    for name, model in models.classifiers(asked, seed=seed):
        with models.one_thread():
            model.fit(x, y.astype(np.int64))
            predicted = _classified(
                model, x_test, tested, bundle.num_targets, threshold=spec.task.binary.threshold
            )
        yield name, task.all_metrics(predicted)


def embedding_metrics(asked: Baselines, bundle: DataBundle) -> Metrics:
    """Train the linear model of embeddings, and embed the test data by it.

    Linear discriminant analysis finds directions in which the classes of training differ most.
    Boosting gives no vectors.

    Yields:
        Its name, and the metrics of its vectors; nothing where it is not asked for, where there
        are too many numbers, or where there is one class.
    """
    train, test = bundle.train, bundle.test
    y = train.y.numpy()
    is_too_large = train.x.numel() > _MOST_NUMBERS
    if not asked.linear or is_too_large or len(np.unique(y)) < 2 or len(test) < 2:
        return
    x, x_test = (_vectors(split.x.numpy()) for split in (train, test))
    with models.one_thread():
        vectors = models.discriminant().fit(x, y).transform(x_test)
    yield models.LINEAR, vector_metrics(vectors, test.y.numpy())


def boosting_left_out(spec: JobSpec, bundle: DataBundle) -> str:
    """Say why boosting, though it is asked for, would take too long; empty where it does not."""
    columns = math.prod(bundle.train.x.shape[1:])
    y = bundle.train.y
    # Of two classes there is one tree in each round, as of a number.
    trees, of = bundle.num_targets if bundle.num_targets > 2 else 1, "classes"
    if y.dim() > 1:
        trees, of = y.shape[1], "targets"
    if not spec.diagnostics.baseline.gradient_boosting or columns * trees <= _MOST_COLUMNS:
        return ""
    each = f" for each of {trees} {of}" if trees > 1 else ""
    return (
        f"{models.BOOSTING} (scikit-learn) is left out: {columns:,} inputs{each} would take it "
        f"minutes. It is trained for up to {_MOST_COLUMNS // trees:,}"
    )


def _labelled(
    asked: Baselines, seed: int, x: Floats, y: NDArray[np.int64], x_test: Floats
) -> Iterator[tuple[str, Floats]]:
    """Yield each model's probabilities of the labels (N, L), from a fit for each of them."""
    for name, model in models.classifiers(asked, seed=seed):
        with models.one_thread():
            # Each fit begins anew.
            columns = [_labelled_once(model, x, of, x_test) for of in y.T]
        yield name, np.stack(columns, axis=1)


def _labelled_once(model: Any, x: Floats, y: NDArray[np.int64], x_test: Floats) -> Floats:
    if y.min() == y.max():
        # All or none carry the label: there is nothing to learn.
        return np.full(len(x_test), y[0], np.float64)
    return models.probabilities(model.fit(x, y), x_test, 2)[:, 1]


def _classified(
    model: Any, x: Floats, tested: Predictions, num_classes: int, *, threshold: float
) -> Predictions:
    """Return classes and probabilities in the form of the network's.

    Args:
        model: The model, trained.
        x: Inputs of the test data.
        tested: What the network says of them.
        num_classes: Classes, or ranks.
        threshold: From this probability on the second of two classes is predicted, where it has
            the only one.
    """
    shares = models.probabilities(model, x, max(num_classes, 2))
    dtype = tested.y_true.dtype
    if tested.probabilities is not None and tested.probabilities.ndim == 1:
        y_pred = (shares[:, 1] >= threshold).astype(dtype)
        return Predictions(tested.y_true, y_pred, probabilities=shares[:, 1])
    return Predictions(tested.y_true, shares.argmax(axis=1).astype(dtype), probabilities=shares)


def _vectors(x: NDArray[Any]) -> Floats:
    return x.reshape(len(x), -1).astype(np.float64)
