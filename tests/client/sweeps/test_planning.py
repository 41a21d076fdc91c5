"""`talweg plan`: what a pilot tells of a sweep."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.client.commands import Talweg
from tests.client.sweeps.training import Training, Value, sweep

from talweg.client import Client, InvalidRequest
from talweg.client.sweeps.planning import pilot_of, seconds_occupied
from talweg.spec import from_dict
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import SweepSpec

COMPARED = {"path": "loss", "baseline": "mse", "margin": "10%", "final_seeds": 40}


def spec(**fields: object) -> SweepSpec:
    return from_dict(sweep(**fields), SweepSpec)


def test_a_pilot_is_small_whatever_the_sweep_is() -> None:
    pilot = pilot_of(
        spec(compare=COMPARED, seeds=7, max_time="2h", pruning={"asha": {}}, failure_budget=3)
    )
    assert (pilot.trials, pilot.seeds.count, pilot.compare.final_seeds) == (1, 1, 3)
    assert pilot.algorithm.HasField("random")
    assert not pilot.HasField("pruning")
    assert not pilot.max_time


@pytest.mark.parametrize(
    ("fields", "field"), [({}, "compare"), ({"compare": {"path": "loss"}}, "compare.margin")]
)
def test_without_a_margin_there_is_nothing_to_plan(fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field}: found nothing") as caught:
        pilot_of(spec(**fields))
    assert caught.value.violations[0].hint


def test_a_job_file_is_no_sweep_file(talweg: Talweg, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(sweep()["base"]))
    done = talweg("plan", path)
    assert done.status == 2
    assert "found jobs; allowed a sweep file, which has base and space" in done.err


# Differences to mse of 5, 6 and 7: their sd is 1, and the margin a tenth of 20 or so.
def noisy(job: JobSpec) -> float:
    seed = job.training.seed
    return 20.0 if job.loss.WhichOneof("kind") == "mse" else 25.0 + seed


def test_plan_tells_seeds_and_time(
    talweg: Talweg,
    client: Client,
    train: Callable[[Value], Training],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Client, "workers", lambda self: [])
    train(noisy)
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep(compare=COMPARED)))
    done = talweg("plan", path, "--json")
    assert done.status == 0, done.err
    plan = done.json
    values = {each["label"]: each for each in plan["values"]}
    assert values["mse"]["seeds"] is None
    assert values["mae"]["sd"] == pytest.approx(1.0)
    # By the t test's power at a difference of 2 sd; and six pairs are the least that can show one.
    assert values["mae"]["seeds"] == 6
    assert plan["seeds"] == 6
    # In a tenth of all pilots the noise is three times what they show, or more.
    assert (plan["seeds_low"], plan["seeds_high"]) == (6, 21)
    assert plan["file_seconds"] == pytest.approx(
        plan["search_seconds"] + plan["final_seconds"] * 40 / 6
    )
    assert plan["num_workers"] == 1
    [pilot] = client.sweeps()
    assert pilot.message.num_jobs == 8
    shown = talweg("plan", path)
    assert "6 fresh seeds show a difference of 10%" in shown.err
    assert "in 80% of the cases it takes 6 to" in shown.err
    assert "seeds: 6}" in shown.err
    assert "final_seeds: 40" in shown.err
    assert "SEEDS NEEDED" in shown.out


def job(name: str, worker: str, start: int, end: int) -> Job:
    message = Job(name=name, worker=worker)
    message.start_time.FromSeconds(start)
    message.end_time.FromSeconds(end)
    return message


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        # Claimed together and trained after each other: six seconds in all.
        ([(0, 2), (0, 4), (0, 6)], [1.0, 2.0, 3.0]),
        # It takes a second to claim.
        ([(0, 4), (5, 9), (10, 14)], [14 / 3] * 3),
        ([(3, 7)], [4.0]),
        ([(3, 3), (3, 3)], [0.0, 0.0]),
    ],
)
def test_jobs_that_are_claimed_together_do_not_count_twice(
    times: list[tuple[int, int]], expected: list[float]
) -> None:
    jobs = [job(f"jobs/{index}", "w1", *each) for index, each in enumerate(times)]
    assert list(seconds_occupied(jobs).values()) == pytest.approx(expected)


def test_workers_that_train_beside_each_other_each_count() -> None:
    jobs = [job("jobs/a", "w1", 0, 4), job("jobs/b", "w2", 0, 4), job("jobs/c", "w1", 4, 8)]
    assert seconds_occupied(jobs) == {"jobs/a": 4.0, "jobs/b": 4.0, "jobs/c": 4.0}
    assert seconds_occupied([]) == {}
