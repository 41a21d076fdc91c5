"""How far a sweep is, in words: counts, the best value, the time left."""

from typing import Any

import pytest
from tests.client.sweeps.training import sweep

from talweg.client import SweepState, Trial, TrialState
from talweg.client.cli._common import STATE_STYLES, style_of
from talweg.client.sweeps import _progress
from talweg.client.sweeps._progress import SweepProgress
from talweg.client.sweeps._values import sweep_state_number, trial_state_number
from talweg.spec import from_dict
from talweg.v1.jobs_pb2 import Job
from talweg.v1.sweeps_pb2 import JobCount, Sweep, SweepSpec, TrialCount
from talweg.v1.sweeps_pb2 import Trial as TrialMessage


def test_every_state_of_the_api_is_known_and_has_a_style() -> None:
    for name, number in Sweep.State.items():
        if number:
            assert SweepState.of(number) == name
            assert sweep_state_number(name.lower()) == number
            assert style_of(name) in STATE_STYLES.values()
    for name, of_trial in TrialMessage.State.items():
        if of_trial:
            assert TrialState.of(of_trial) == name
            assert trial_state_number(TrialState[name]) == of_trial
            assert style_of(name) in STATE_STYLES.values()
    for kind in (SweepState, TrialState):
        with pytest.raises(ValueError, match="the server may be newer"):
            kind.of(99)


def message(ended: int, *, running: int = 2, **fields: object) -> Sweep:
    spec = from_dict(sweep(seeds=2, compare={"path": "loss", "final_seeds": 6}), SweepSpec)
    return Sweep(
        spec=spec,
        state=Sweep.RUNNING,
        num_trials=4,
        num_jobs=20,
        jobs=[
            JobCount(state=Job.SUCCEEDED, count=ended),
            JobCount(state=Job.RUNNING, count=running),
        ],
        trials=[
            TrialCount(state=TrialMessage.SUCCEEDED, count=ended // 2),
            TrialCount(state=TrialMessage.PRUNED, count=1),
            TrialCount(state=TrialMessage.RUNNING, count=1),
        ],
        **fields,  # type: ignore[arg-type]
    )


def test_counts_tell_trials_jobs_and_what_went_wrong() -> None:
    progress = SweepProgress(message(4, num_reused=3, num_continued=1))
    # The search has four trials, and two compared values are repeated with fresh seeds.
    assert progress.trials_text == "3/6 trials"
    assert progress.counts[1:] == [
        "2 jobs running",
        "1 pruned",
        "3 jobs taken over",
        "1 job went on from shorter ones",
    ]
    assert progress.share == 0.2


def test_the_most_seeds_count_where_seeds_are_added() -> None:
    given = message(4)
    given.spec.compare.ClearField("final_seeds")
    given.spec.compare.decide.max_seeds = 6
    assert SweepProgress(given).trials_text == "3/6 trials"


LOSSES = {"path": "loss", "choices": [{"value": "mse"}, {"value": "mae"}, {"value": "huber"}]}
RATES = {"path": "optimizer.adamw.learning_rate", "uniform": {"low": 0.1, "high": 0.2}}


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"display_name": "mine"}, "mine"),
        ({}, "2 values of loss on diabetes"),
        ({"space": [RATES, LOSSES], "compare": "loss"}, "3 values of loss on diabetes"),
        ({"space": [RATES]}, "optimizer.adamw.learning_rate on diabetes"),
        ({"space": [{"zip": [LOSSES, LOSSES]}], "base": {}}, "3 values of loss"),
    ],
)
def test_a_sweep_without_a_name_tells_what_it_varies(fields: dict[str, Any], title: str) -> None:
    assert SweepProgress(Sweep(spec=from_dict(sweep(**fields), SweepSpec))).title == title


class Clock:
    """The clock of the progress, which a test sets."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_the_time_left_follows_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(_progress, "time", clock)
    progress = SweepProgress(message(4))
    assert progress.left_text == ""
    clock.now = 106.0
    progress.take(message(8))
    # Four jobs took 6 s, and twelve are left.
    assert progress.left_text == "18 s left"
    paused = message(8)
    paused.state = Sweep.PAUSED
    progress.take(paused)
    clock.now = 1000.0
    progress.take(message(8))
    assert progress.left_text == ""
    clock.now = 1001.0
    progress.take(message(10))
    assert progress.left_text == "5.0 s left"


def test_a_trial_in_words() -> None:
    trial = TrialMessage(number=3, state=TrialMessage.PRUNED, value=60.0, reused=1)
    setting = trial.setting.add(path="optimizer.adamw.learning_rate")
    setting.value.number_value = 0.01
    converted = Trial.of(trial)
    assert converted.setting == {"optimizer.adamw.learning_rate": 0.01}
    assert converted.label == "learning_rate=0.01"
    assert (converted.state, converted.value, converted.sd) == (TrialState.PRUNED, 60.0, None)
    assert converted.reused == 1
