"""The metrics against scikit-learn's, and against values worked out by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from talweg.worker.tasks.common import metrics as measures


def draw(seed: int, count: int = 200) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Yes and no, with scores that say something and that often tie."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, count)
    return truth, np.round(rng.normal(size=count) + truth, 1)


@pytest.mark.parametrize("seed", range(5))
def test_curves_against_scikit_learn(seed: int) -> None:
    truth, scores = draw(seed)
    auroc, average_precision = measures.auroc_and_average_precision(truth, scores)
    assert auroc == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
    expected = metrics.average_precision_score(truth, scores)
    assert average_precision == pytest.approx(expected, abs=1e-12)


def test_curves_at_the_ends() -> None:
    curves = measures.auroc_and_average_precision
    truth = np.array([0, 0, 1, 1])
    assert curves(truth, np.array([0.1, 0.2, 0.3, 0.4])) == (1.0, 1.0)
    auroc, average_precision = curves(truth, np.array([0.4, 0.3, 0.2, 0.1]))
    assert auroc == 0
    # Hits at ranks 3 and 4.
    assert average_precision == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert curves(truth, np.zeros(4)) == (0.5, 0.5)


def test_curves_of_one_class_are_undefined() -> None:
    curves, scores = measures.auroc_and_average_precision, np.array([0.1, 0.7, 0.3])
    assert curves(np.zeros(3, dtype=np.int64), scores) == (None, None)
    assert curves(np.ones(3, dtype=np.int64), scores) == (None, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_f1_of_classes_against_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Of six classes the fourth is neither true nor answered, the sixth answered only.
    truth = rng.choice([0, 1, 2, 4], 60)
    answers = rng.choice([0, 1, 2, 5], 60)
    by_class = measures.f1_by_class(truth, answers, 6)
    assert len(by_class) == 5
    expected = metrics.f1_score(truth, answers, average="macro", zero_division=0)
    assert by_class.mean() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_f1_of_labels_against_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answers = rng.integers(0, 2, (2, 40, 4))
    expected = metrics.f1_score(truth, answers, average=None)
    assert measures.f1_by_label(truth, answers) == pytest.approx(expected)
    # A label that nobody has and nobody was given says nothing.
    truth[:, 2] = answers[:, 2] = 0
    assert measures.f1_by_label(truth, answers) == pytest.approx(np.delete(expected, 2))


def test_r2_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(50, 3)) * [1, 10, 100]
    answers = truth + rng.normal(size=(50, 3))
    assert measures.r2(truth, answers) == pytest.approx(metrics.r2_score(truth, answers))
    truth[:, 1] = 4
    expected = metrics.r2_score(truth[:, [0, 2]], answers[:, [0, 2]])
    assert measures.r2(truth, answers) == pytest.approx(expected)
    assert measures.r2(truth[:1], answers[:1]) is None


def test_pinball_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, answers = rng.normal(size=(40, 1)), rng.normal(size=(40, 1, 3))
    quantiles = np.array([0.1, 0.5, 0.8])
    expected = np.mean(
        [
            metrics.mean_pinball_loss(truth[:, 0], answers[:, 0, index], alpha=q)
            for index, q in enumerate(quantiles)
        ]
    )
    assert measures.pinball(truth[..., None], answers, quantiles) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.1, 12.7, -5.3e-5, 1e6 + 0.1])
def test_r2_of_equal_targets_is_undefined_though_their_mean_is_rounded(value: float) -> None:
    # Of seven of them the mean is another number, and so the variance above 0.
    truth = np.full((7, 1), value)
    assert measures.r2(truth, truth + 1) is None
    both = np.concatenate([truth, np.arange(7.0)[:, None]], axis=1)
    assert measures.r2(both, both + 1) == pytest.approx(1 - 7 / 28)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 1.0, 0.6, 0.6, 0.0])
    right = np.array([True, False, True, True, True, False])
    # The last bin holds 0.95, 0.95 and 1.0 with two right; 0.6 ends a bin that is closed above.
    expected = (abs(2.9 - 2) + abs(1.2 - 2) + abs(0 - 0)) / 6
    assert measures.calibration_error(confidence, right) == pytest.approx(expected)


def test_calibration_error_of_honest_confidence_vanishes() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    right = rng.uniform(size=200_000) < confidence
    assert measures.calibration_error(confidence, right) < 0.01
    assert measures.calibration_error(np.sqrt(confidence), right) > 0.08
