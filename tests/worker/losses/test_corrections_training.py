"""What is often taught wrong about losses, where only training shows it.

The numbers of docs/corrections.md: `python -m tests.worker.losses.measured`. What takes many
trainings is run by `make faults`.
"""

from statistics import mean

import pytest
from tests.worker.losses import measured


def test_the_first_loss_of_a_small_mlp_is_near_the_logarithm_of_the_classes() -> None:
    """Its logits are near 0; those behind inputs of more spread, or of other models, less so."""
    losses = [measured.first_loss("mlp", seed, standardised=False) for seed in range(12)]
    assert mean(losses) == pytest.approx(2.3075, abs=0.005)
    losses = [measured.first_loss("linear", seed, standardised=True) for seed in range(12)]
    assert mean(losses) > 2.35


@pytest.mark.faults
def test_on_a_long_tail_weights_and_logit_adjustment_do_what_focal_does_not() -> None:
    f1 = measured.on_long_tail()
    cross_entropy, focal, balanced, adjusted = (f1[name] for name in measured.LONG_TAIL)
    assert mean(balanced) > mean(cross_entropy) + 0.02
    assert mean(adjusted) > mean(balanced) + 0.02
    assert mean(focal) - mean(cross_entropy) < (mean(balanced) - mean(cross_entropy)) * 2 / 3
    for seed in measured.SEEDS:
        assert adjusted[seed] > max(focal[seed], cross_entropy[seed]) + 0.03


@pytest.mark.faults
def test_label_smoothing_raises_accuracy_and_worsens_calibration() -> None:
    found = measured.by_smoothing()
    accuracy, ece = found[0.0]
    for smoothing, times in ((0.1, 3), (0.2, 5)):
        smoothed, calibration = found[smoothing]
        assert mean(smoothed) > mean(accuracy) + 0.003
        for seed in measured.SEEDS:
            assert calibration[seed] > times * ece[seed]
