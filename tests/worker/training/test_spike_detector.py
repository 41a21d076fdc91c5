"""Which steps are spikes, by the steps before them alone."""

import json
import math
import random

import pytest

from talweg.worker.training.guard.guard import Reading
from talweg.worker.training.guard.spikes import FEWEST, Jump, SpikeDetector


class Fed:
    """A detector that takes steps one after the other."""

    def __init__(
        self,
        *,
        window: int = 64,
        threshold: float = 8.0,
        batch_size: int = 32,
        max_growth: float = 1e9,
    ) -> None:
        self.detector = SpikeDetector(
            window=window, threshold=threshold, max_growth=max_growth, batch_size=batch_size
        )
        self.step = 0

    def see(self, loss: float, norm: float = 1.0, *, samples: int = 32) -> Jump | None:
        self.step += 1
        reading = Reading(loss, norm)
        jump = self.detector.jump(reading, samples, self.step)
        if jump is None:
            self.detector.add(reading, self.step)
        return jump


def noisy(count: int, *, sd: float = 0.2, seed: int = 0) -> list[float]:
    drawn = random.Random(seed)
    return [math.exp(drawn.gauss(0, sd)) for _ in range(count)]


def test_no_step_is_a_spike_before_there_are_enough_to_compare_with() -> None:
    fed = Fed()
    for loss in noisy(FEWEST - 1):
        fed.see(loss)
    assert fed.see(1e8) is None
    fed = Fed()
    for loss in noisy(FEWEST):
        fed.see(loss)
    jump = fed.see(1e9)
    assert jump is not None
    assert (jump.what, jump.num_steps) == ("loss", FEWEST)


def test_a_jump_is_told_by_its_robust_deviations() -> None:
    fed = Fed()
    losses = noisy(64)
    for loss in losses:
        assert fed.see(loss) is None
    logs = sorted(map(math.log, losses))
    median = (logs[31] + logs[32]) / 2
    apart = sorted(abs(log - median) for log in logs)
    sd = 1.4826 * (apart[31] + apart[32]) / 2
    assert fed.see(math.exp(median + 7.9 * sd)) is None
    fed = Fed()
    for loss in losses:
        fed.see(loss)
    jump = fed.see(math.exp(median + 8.1 * sd))
    assert jump is not None
    assert jump.deviations == pytest.approx(8.1)
    assert jump.median == pytest.approx(math.exp(median))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_neither_a_fall_nor_a_slow_rise_is_a_spike(scale: float) -> None:
    fed = Fed()
    for place, loss in enumerate(noisy(300)):
        assert fed.see(scale * loss * math.exp(-place / 30), 1.0) is None
    assert fed.see(0.0, 0.0) is None
    fed = Fed()
    for place, loss in enumerate(noisy(300)):
        assert fed.see(scale * loss * math.exp(place / 100)) is None


def test_a_few_spikes_in_the_window_hide_no_other() -> None:
    detector = SpikeDetector(window=64, threshold=8, max_growth=1e9, batch_size=32)
    for step, loss in enumerate(noisy(200), 1):
        reading = Reading(1e6 if step % 10 == 0 else loss, 1.0)
        jump = detector.jump(reading, 32, step)
        assert (jump is not None) == (step % 10 == 0 and step > FEWEST), step
        # As under warn, where they stand.
        detector.add(reading, step)


def test_a_level_that_stays_is_the_new_one() -> None:
    detector = SpikeDetector(window=32, threshold=8, max_growth=1e9, batch_size=32)
    spikes = []
    for step, loss in enumerate(noisy(200), 1):
        reading = Reading(loss * (100 if step > 100 else 1), 1.0)
        if detector.jump(reading, 32, step):
            spikes.append(step)
        detector.add(reading, step)
    assert spikes
    assert spikes[0] == 101
    assert spikes[-1] < 101 + 32


def test_the_gradient_norm_counts_by_itself() -> None:
    fed = Fed()
    for loss, norm in zip(noisy(64), noisy(64, seed=1), strict=True):
        assert fed.see(loss, norm) is None
    jump = fed.see(1.0, 1e4)
    assert jump is not None
    assert jump.what == "gradient"


def test_fewer_samples_vary_more() -> None:
    def sees(samples: int) -> bool:
        fed = Fed()
        for loss in noisy(64):
            fed.see(loss)
        return fed.see(10.0, samples=samples) is not None

    assert sees(32)
    assert not sees(2)


def test_losses_of_both_signs() -> None:
    drawn = random.Random(0)
    fed = Fed()
    for _ in range(100):
        assert fed.see(drawn.gauss(0, 1)) is None
    jump = fed.see(50.0)
    assert jump is not None
    assert jump.value == 50
    assert fed.see(-50.0) is None


def test_losses_that_are_mostly_zero() -> None:
    fed = Fed()
    for place in range(100):
        assert fed.see(0.0 if place % 4 else 0.3) is None
    assert fed.see(0.5) is None
    assert fed.see(1e3) is not None
    fed = Fed()
    for _ in range(100):
        assert fed.see(0.0, 0.0) is None
    # Of nothing but zeros nothing is known.
    assert fed.see(1.0, 1.0) is None


def test_a_loss_that_stands_still_may_rise_a_little() -> None:
    fed = Fed()
    for _ in range(100):
        fed.see(1.0)
    assert fed.see(1.5) is None
    assert fed.see(3.0) is not None


def test_its_window_survives_as_json() -> None:
    losses, norms = noisy(150), noisy(150, seed=1)
    whole, first = Fed(), Fed()
    for place in range(150):
        whole.see(losses[place], norms[place])
    for place in range(77):
        first.see(losses[place], norms[place])
    second = Fed()
    second.detector.restore({}, json.loads(json.dumps(first.detector.values())))
    second.step = first.step
    for place in range(77, 150):
        second.see(losses[place], norms[place])
    assert second.detector.values() == whole.detector.values()
    assert second.see(1e9) == whole.see(1e9)


def test_players_are_compared_with_themselves() -> None:
    detector = SpikeDetector(
        window=64,
        threshold=8,
        max_growth=1e9,
        batch_size=32,
        num_players=2,
        player=lambda step: int(step % 3 == 0),
    )
    for step, loss in enumerate(noisy(300), 1):
        reading = Reading(loss * (1000 if step % 3 == 0 else 1), 1.0)
        assert detector.jump(reading, 32, step) is None
        detector.add(reading, step)
    assert detector.jump(Reading(1000.0, 1.0), 32, 300) is None
    assert detector.jump(Reading(1000.0, 1.0), 32, 301) is not None


@pytest.mark.parametrize("first", [1e-3, 1.0, 1e6])
def test_a_loss_that_runs_away_step_by_step(first: float) -> None:
    fed = Fed(max_growth=1e4)
    jumps = [fed.see(first * 3**step) for step in range(60)]
    told = [step for step, jump in enumerate(jumps) if jump is not None]
    # 3^8 is 6,561.
    assert told == list(range(9, 60))
    jump = jumps[9]
    assert jump is not None
    assert jump.first == first


def test_a_loss_that_begins_at_nothing_may_grow() -> None:
    for first in (0.0, -1.0):
        fed = Fed(max_growth=1e4)
        assert [fed.see(loss) for loss in [first, 1e3, 1e6, *noisy(10)]] == [None] * 13
