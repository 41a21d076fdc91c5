"""Sweeps in Python: created, followed, controlled and answered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests._parts import wait_until
from tests.client.faulty import FaultyServer
from tests.client.sweeps.training import Training, Value, by_setting, sweep

from talweg.client import (
    AlreadyExists,
    Client,
    FailedPrecondition,
    InvalidSpec,
    NotFound,
    SweepState,
    TrialState,
    Verdict,
    WaitTimeout,
)
from talweg.v1 import jobs_pb2
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep

Train = Callable[[Value], Training]
COMPARED: dict[str, Any] = {
    "compare": {"path": "loss", "baseline": "mse", "final_seeds": 6},
}


def test_a_sweep_from_file_to_answer(client: Client, train: Train, tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(str(sweep(seeds=2)).replace("'", '"'))
    created = client.sweep(path)
    assert created.state is SweepState.RUNNING
    assert (created.message.num_trials, created.message.num_jobs) == (4, 8)
    train(by_setting)
    events: list[str | None] = []
    ended = created.wait(120, on_event=lambda event: events.append(event.WhichOneof("kind")))
    assert ended.state is SweepState.SUCCEEDED
    assert events.count("ended") == 4
    assert events[-1] == "finished"
    trials = list(ended.trials(best=True))
    assert [trial.state for trial in trials] == [TrialState.SUCCEEDED] * 4
    assert [trial.setting["loss"] for trial in trials] == ["mae", "mae", "mse", "mse"]
    best = trials[0]
    assert best.setting["optimizer.adamw.learning_rate"] == 0.001
    assert best.value == pytest.approx(10.105)
    assert best.count == 2
    assert best.sd == pytest.approx(0.01 / 2**0.5)
    assert ended.best == (best,)
    assert sorted(job.name for job in ended.jobs()) == sorted(
        job for trial in trials for job in trial.jobs
    )
    answer = ended.answer()
    assert not answer.is_provisional
    assert answer.comparison is None
    assert answer.chosen == (best,)
    assert "mae" in answer.text
    frame = answer.to_pandas()
    assert list(frame["val/mae"]) == [best.value]
    assert list(frame["loss"]) == ["mae"]
    assert str(answer).startswith(answer.text)
    assert "10.105" in str(answer)
    assert "10.105" in answer._repr_html_()


def test_compared_values_are_answered_with_verdicts(client: Client, train: Train) -> None:
    created = client.sweep(sweep(**COMPARED))
    assert created.answer().is_provisional
    train(by_setting)
    created.wait(120)
    answer = created.answer()
    assert answer.comparison is not None
    assert answer.comparison.metric == "test/mae"
    assert answer.comparison.group_by == ("loss",)
    assert [group.labels for group in answer.comparison.groups] == [("mae",), ("mse",)]
    found = answer.comparison.answer
    assert found is not None
    assert found.baseline == ("mse",)
    better = next(group.difference for group in found.groups if group.difference is not None)
    assert better.verdict is Verdict.BETTER
    assert better.n == 6
    assert {trial.compared for trial in answer.chosen} == {"mae", "mse"}
    assert {trial.compared for trial in created.refresh().best} == {"mae", "mse"}
    assert list(answer.to_pandas()["group"]) == ["mae", "mse"]
    finals = [trial for trial in created.trials() if trial.is_final]
    assert [len(trial.jobs) for trial in finals] == [6, 6]
    assert "better" in answer._repr_html_()


def test_diverged_trials_are_ranked_last_and_failed_ones_are_retried(
    client: Client, train: Train
) -> None:
    def unlucky(spec: JobSpec) -> float | jobs_pb2.Job.State.ValueType:
        if spec.loss.WhichOneof("kind") == "mse":
            high = spec.optimizer.adamw.learning_rate == 0.01
            return jobs_pb2.Job.DIVERGED if high else jobs_pb2.Job.FAILED
        return by_setting(spec)

    training = train(unlucky)
    created = client.sweep(sweep()).wait(120)
    assert created.state is SweepState.SUCCEEDED
    states = [trial.state for trial in created.trials(best=True)]
    assert states[:2] == [TrialState.SUCCEEDED] * 2
    assert set(states[2:]) == {TrialState.DIVERGED, TrialState.FAILED}
    (diverged,) = created.trials(states=["diverged"])
    assert diverged.value is None
    training.stop()
    num_before = len(list(created.watch()))
    assert created.retry() == 1
    assert created.message.state == Sweep.RUNNING
    train(by_setting)
    created.wait(120)
    assert [trial.state for trial in created.trials(states=["FAILED"])] == []
    assert len(list(created.trials(states=[TrialState.DIVERGED]))) == 1
    events = list(created.watch())
    assert [event.cursor for event in events] == list(range(1, len(events) + 1))
    assert len(events) > num_before
    assert sum(event.HasField("finished") for event in events) == 2
    assert list(created.watch(after=events[-1].cursor)) == []
    with pytest.raises(ValueError, match="trial state must be one of RUNNING"):
        created.retry(["lost"])


def test_watch_resumes_by_cursor(faulty: FaultyServer, client: Client, train: Train) -> None:
    created = client.sweep(sweep())
    train(by_setting)
    created.wait(120)
    whole = list(created.watch())
    faulty.calls.clear()
    broken = grpc.StatusCode.UNAVAILABLE
    faulty.fail_next("WatchSweep event", None, broken, None, None, broken, None)
    assert list(created.watch()) == whole
    assert faulty.calls.count("WatchSweep") == 3


def test_a_restart_of_the_server_is_waited_for(
    faulty: FaultyServer, client: Client, train: Train
) -> None:
    created = client.sweep(sweep(parallel=1))
    training = train(by_setting)
    wait_until(lambda: training.num_trained, timeout=10, what="a trained job")
    training.stop()
    faulty.kill()
    faulty.start()
    train(by_setting)
    assert created.wait(120).state is SweepState.SUCCEEDED
    assert len(list(created.trials(states=["SUCCEEDED"]))) == 4


def test_pause_resume_and_cancel(client: Client) -> None:
    created = client.sweep(sweep(display_name="mine"))
    wait_until(lambda: created.refresh().message.jobs, timeout=10, what="jobs")
    assert created.pause("lunch").state is SweepState.PAUSED
    assert [job.state for job in created.jobs()] == ["PAUSED"] * 4
    with pytest.raises(WaitTimeout, match=r"is still PAUSED after 0.1 s \(0/4 trials\)"):
        created.wait(0.1)
    assert created.resume().state is SweepState.RUNNING
    assert created.cancel("enough").wait(120).state is SweepState.CANCELLED
    assert {job.state for job in created.jobs()} == {"CANCELLED"}
    with pytest.raises(FailedPrecondition):
        created.resume()
    with pytest.raises(FailedPrecondition):
        created.update(seeds=3)
    again = client.get_sweep(created.id)
    assert (again.name, again.state) == (created.name, SweepState.CANCELLED)
    assert client.get_sweep(created.name).spec.display_name == "mine"


def test_more_seeds_and_trials(client: Client, train: Train) -> None:
    space = [{"path": "optimizer.adamw.learning_rate", "uniform": {"low": 0.001, "high": 0.1}}]
    created = client.sweep(sweep(space=space, trials=2, base={**sweep()["base"], "loss": "mae"}))
    train(by_setting)
    created.wait(120)
    assert created.update(trials=3, seeds=2).state is SweepState.RUNNING
    created.wait(120)
    assert [trial.count for trial in created.trials()] == [2, 2, 2]
    assert created.message.num_trials == 3


def test_creation_is_safe_to_repeat(faulty: FaultyServer, client: Client) -> None:
    faulty.fail_next("after CreateSweep", grpc.StatusCode.UNAVAILABLE)
    created = client.sweep(sweep())
    assert faulty.calls.count("CreateSweep") == 2
    assert [each.name for each in client.sweeps()] == [created.name]
    first = client.sweep(sweep(seeds=2), request_id="once")
    assert client.sweep(sweep(seeds=2), request_id="once").name == first.name
    with pytest.raises(AlreadyExists):
        client.sweep(sweep(seeds=3), request_id="once")


def test_sweeps_are_listed_by_state(client: Client) -> None:
    created = [client.sweep(sweep()) for _ in range(3)]
    created[1].cancel().wait(120)
    assert [each.name for each in client.sweeps()] == [each.name for each in reversed(created)]
    assert [each.name for each in client.sweeps(states=["cancelled"])] == [created[1].name]
    assert [each.name for each in client.sweeps(limit=1)] == [created[2].name]
    with pytest.raises(NotFound):
        client.get_sweep("no-such-sweep")
    with pytest.raises(ValueError, match="a sweep's id must be"):
        client.get_sweep("no such sweep")


def test_what_is_wrong_is_told_at_once_and_nothing_runs(client: Client) -> None:
    with pytest.raises(InvalidSpec, match="did you mean 'trials'") as caught:
        client.sweep(sweep(trial=5, seed=2))
    assert [each.field for each in caught.value.violations] == ["trial", "seed"]
    with pytest.raises(InvalidSpec) as caught:
        client.sweep(sweep(seeds=0, parallel=0))
    assert {each.field for each in caught.value.violations} == {"seeds.count", "parallel"}
    with pytest.raises(InvalidSpec, match="settings are chosen on validation data"):
        client.sweep(sweep(objective="test/mae"))
    checked = client.sweep(sweep(), validate_only=True)
    assert (checked.name, checked.id) == ("", "")
    assert checked.message.num_trials == 4
    assert "validated only" in repr(checked)
    assert "validated only" in checked._repr_html_()
    with pytest.raises(ValueError, match="only validated"):
        checked.refresh()
    assert list(client.sweeps()) == []


def test_a_data_file_of_the_base_is_uploaded(client: Client, tmp_path: Path) -> None:
    table = tmp_path / "houses.csv"
    table.write_text("area,price\n" + "".join(f"{i},{2 * i}.5\n" for i in range(60)))
    spec = sweep(
        base={**sweep()["base"], "dataset": {"file": {"path": str(table), "target": "price"}}}
    )
    created = client.sweep(spec)
    stored = created.spec.base.dataset.stored
    assert stored.name.startswith("houses@")
    assert stored.target == "price"


def test_a_notebook_shows_a_sweep(client: Client, train: Train) -> None:
    created = client.sweep(sweep(display_name="<b>mine</b>"))
    assert "&lt;b&gt;mine&lt;/b&gt;" in created._repr_html_()
    train(by_setting)
    shown = created.wait(120)._repr_html_()
    assert "4/4 trials" in shown
    assert "val/mae 10.100" in shown
    assert repr(created) == f"<Sweep {created.name} SUCCEEDED>"
