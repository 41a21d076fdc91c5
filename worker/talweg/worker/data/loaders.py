"""The data sets, one loader a message: a member of `Dataset` in, arrays out.

To add one: a loader, and its row in `LOADERS`, which a test holds complete.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.v1 import datasets_pb2 as messages
from talweg.worker.data.gaussian_ring import ring
from talweg.worker.data.raw import RawData
from talweg.worker.data.scikit_learn import datasets


def _table(x: NDArray[Any], y: NDArray[Any], names: Iterable[Any] = (), **rest: Any) -> RawData:
    """Return inputs and a target."""
    return RawData({"x": x, "y": y}, tuple(str(name) for name in names), **rest)


def _diabetes(_: messages.Diabetes) -> RawData:
    raw = datasets().load_diabetes()
    return _table(raw.data, raw.target, raw.feature_names, target_names=("progression",))


def _classes(raw: Any) -> RawData:
    """Convert scikit-learn's form of a small classification set."""
    return _table(
        raw.data,
        raw.target.astype(np.int64),
        raw.feature_names,
        class_names=tuple(str(name) for name in raw.target_names),
    )


def _breast_cancer(_: messages.BreastCancer) -> RawData:
    return _classes(datasets().load_breast_cancer())


def _wine(_: messages.Wine) -> RawData:
    return _classes(datasets().load_wine())


def _iris(_: messages.Iris) -> RawData:
    return _classes(datasets().load_iris())


def _digits(_: messages.Digits) -> RawData:
    raw = datasets().load_digits()
    return _table(
        raw.images[:, None] / 16.0,
        raw.target.astype(np.int64),
        class_names=tuple(str(digit) for digit in raw.target_names),
    )


def _synthetic_regression(spec: messages.SyntheticRegression) -> RawData:
    inputs, targets = datasets().make_regression(
        n_samples=spec.num_samples,
        n_features=spec.num_features,
        n_informative=min(spec.num_informative, spec.num_features),
        n_targets=spec.num_targets,
        noise=spec.noise,
        random_state=spec.seed,
    )
    return _table(
        inputs,
        targets,
        _numbered("x", spec.num_features),
        target_names=("y",) if spec.num_targets == 1 else _numbered("y", spec.num_targets),
    )


def _synthetic_classification(spec: messages.SyntheticClassification) -> RawData:
    # Two clusters a class, where the hypercube has corners enough.
    corners = 2**spec.num_informative
    inputs, targets = datasets().make_classification(
        n_samples=spec.num_samples,
        n_features=spec.num_features,
        n_informative=spec.num_informative,
        n_redundant=0,
        n_classes=spec.num_classes,
        n_clusters_per_class=2 if 2 * spec.num_classes <= corners else 1,
        weights=list(spec.class_shares) or None,
        flip_y=spec.label_noise,
        class_sep=spec.class_separation,
        random_state=spec.seed,
    )
    return _numbered_table(inputs, targets, spec.num_classes, each="class")


def _synthetic_multilabel(spec: messages.SyntheticMultilabel) -> RawData:
    # The validation would refuse a mean that is not whole, which the drawing itself takes.
    import sklearn  # noqa: PLC0415 - at its first use

    with sklearn.config_context(skip_parameter_validation=True):
        inputs, targets = datasets().make_multilabel_classification(
            n_samples=spec.num_samples,
            n_features=spec.num_features,
            n_classes=spec.num_classes,
            n_labels=spec.mean_labels,
            random_state=spec.seed,
        )
    return _numbered_table(inputs, targets, spec.num_classes, each="label")


def _gaussian_ring(spec: messages.GaussianRing) -> RawData:
    return _numbered_table(*ring(spec), spec.num_classes, each="mode")


def _numbered_table(
    inputs: NDArray[np.float64], targets: NDArray[Any], num_classes: int, *, each: str
) -> RawData:
    """Return a table whose features and classes have numbers for names."""
    return _table(
        inputs,
        targets.astype(np.int64),
        _numbered("x", inputs.shape[1]),
        class_names=_numbered(f"{each} ", num_classes),
    )


def _numbered(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{index}" for index in range(count))


LOADERS: dict[str, Callable[[Any], RawData]] = {
    "diabetes": _diabetes,
    "breast_cancer": _breast_cancer,
    "wine": _wine,
    "iris": _iris,
    "digits": _digits,
    "synthetic_regression": _synthetic_regression,
    "synthetic_classification": _synthetic_classification,
    "synthetic_multilabel": _synthetic_multilabel,
    "gaussian_ring": _gaussian_ring,
}
"""The loader of every built-in data set, but for those in `loading.DIVIDED`."""
