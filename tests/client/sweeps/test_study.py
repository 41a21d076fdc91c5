"""Studies: how much fits into a time, which losses are compared, and the command."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests._parts import wait_until
from tests.client.commands import Talweg
from tests.client.sweeps.training import Training, Value

from talweg.client import Client, InvalidRequest
from talweg.client.sweeps.study import (
    LEAST_JOBS,
    budget_seconds,
    least_seconds,
    losses_of,
    size_for,
    sweep_of,
)
from talweg.spec import from_dict
from talweg.v1 import jobs_pb2
from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec

Train = Callable[[Value], Training]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("5 m", 300), ("1.5h", 5400)],
)
def test_times_are_read(text: str, seconds: int) -> None:
    assert budget_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "10", "m", "-1m", "0s", "0.5s", "10 minutes", "4000d", "９m"]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="90s, 30m, 2h or 1d"):
        budget_seconds(text)


@pytest.mark.parametrize("job", [0.01, 0.3, 2.0, 30.0, 400.0])
@pytest.mark.parametrize("budget", [60, 600, 7200])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_study_fits_into_its_time(job: float, budget: int, workers: int) -> None:
    size = size_for(job, budget, workers, 4)
    if size is None:
        assert LEAST_JOBS * job / workers > 0.8 * budget
        return
    assert size.num_jobs * job / workers <= 0.8 * budget
    assert 2 <= size.num_losses <= 4
    # Seven comparisons at the most: fewer seeds could show nothing.
    assert size.num_seeds >= 8
    assert size.num_trials >= 3


def test_more_time_buys_losses_first_and_then_seeds() -> None:
    sizes = [size_for(1.0, budget, 1, 4) for budget in (30, 60, 300, 3000)]
    assert [size and size.num_losses for size in sizes] == [2, 4, 4, 4]
    seeds = [size.num_seeds for size in sizes if size]
    assert seeds == sorted(seeds)
    assert seeds[-1] > seeds[0]


def test_the_least_time_suffices() -> None:
    least = least_seconds(3.0, 2)
    assert size_for(3.0, least + 1, 2, 4) is not None
    assert size_for(3.0, least - 2, 2, 4) is None


@pytest.mark.parametrize("losses", range(2, 11))
def test_each_comparison_can_be_significant(losses: int) -> None:
    size = size_for(1.0, 150, 1, losses)
    assert size is not None
    assert 2 ** (1 - size.num_seeds) * (size.num_losses - 1) <= 0.05


def test_losses_are_written_as_shortly_as_they_can_be() -> None:
    def loss(value: object) -> Loss:
        return from_dict(value, Loss)

    filled = {"huber": {"delta": 1.0, "reduction": "mean"}}
    smoothed = {"cross_entropy": {"label_smoothing": 0.1, "ignore_index": -100}}
    found = losses_of(
        loss("mse"), [loss({"mse": {"reduction": "mean"}}), loss(filled), loss(smoothed)], 3
    )
    assert found == ["mse", "huber", {"cross_entropy": {"label_smoothing": 0.1}}]
    assert len(losses_of(loss("mse"), [loss("mae"), loss("huber")], 2)) == 2


def test_splits_may_vary_with_the_seeds() -> None:
    base = from_dict({"task": "regression", "dataset": "diabetes", "model": "mlp"}, JobSpec)
    size = size_for(1.0, 600, 1, 2)
    assert size is not None
    made = [
        sweep_of(base, ["mse", "mae"], size, name="s", time=9, splits=splits)
        for splits in (False, True)
    ]
    assert [list(each.seeds.vary) for each in made] == [
        ["training.seed"],
        ["training.seed", "split.seed"],
    ]
    assert {each.predicted.seconds for each in made} == {size.seconds}


def test_data_with_a_split_of_their_own_keep_it(
    talweg: Talweg, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = ["train", "train", "train", "val", "test"]
    rows = [f"{index % 7},{index * 1.5},{parts[index % 5]}" for index in range(200)]
    Path("own.csv").write_text("\n".join(["rooms,price,split", *rows]))
    done = talweg("study", "own.csv", "--target", "price", "--splits")
    assert done.status == 2
    assert "splits: found the split of the column split" in done.err
    assert list(client.jobs()) == []


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    path = tmp_path / "houses.csv"
    rows = [f"{index % 7},{index % 11},{index * 1.5}" for index in range(200)]
    path.write_text("\n".join(["rooms,age,price", *rows]))
    return path


def price(spec: JobSpec) -> float:
    worse = spec.loss.WhichOneof("kind") == "mse"
    return 10.0 + 5 * worse + spec.training.seed / 100


def test_a_file_is_studied_in_one_command(
    talweg: Talweg,
    client: Client,
    train: Train,
    houses: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    train(price)
    # A name that is too long for the sweep's is cut.
    path = houses.rename(tmp_path / f"houses{'-' * 200}.csv")
    done = talweg("study", path, "--target", "price", "--losses", "2", "--budget", "1m")
    assert done.status == 0, done.err
    [sweep] = client.sweeps()
    spec = sweep.spec
    assert spec.base.dataset.stored.name.startswith("houses")
    assert spec.base.experiment.startswith("study of houses-")
    assert spec.display_name.startswith("Study of houses-")
    assert spec.compare.path == "loss"
    assert re.search(r"huber is better than mse", done.out)
    assert Path(f"study-{sweep.id}.html").exists()
    assert "one job is run first" in done.err
    assert sweep.id in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["nosuch"], 3, "neither a file nor a stored data set"),
        (["houses.csv"], 2, "rooms, age, price"),
        (["houses.csv", "--target", "prise"], 2, "price"),
        (["wine", "--budget", "soon"], 2, "90s, 30m, 2h or 1d"),
        (["digits"], 2, "choose one, --task"),
        (["digits", "--task", "vae"], 2, "task: found vae; allowed one of regression"),
        (["digit_pairs"], 2, "task: found metric_learning"),
        (["wine", "--target", "colour"], 2, "wine has a target of its own"),
        (["wine", "--output", "nowhere/study.html"], 2, "a folder that exists"),
        (["file", "--task", "regression"], 3, "neither a file nor a stored data set"),
    ],
)
def test_what_cannot_be_studied_is_told(
    talweg: Talweg,
    client: Client,
    houses: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    told: str,
) -> None:
    monkeypatch.chdir(houses.parent)
    done = talweg("study", *arguments)
    assert done.status == status
    assert told in done.err
    assert list(client.jobs()) == []


def test_too_short_a_time_says_how_long_it_takes(
    talweg: Talweg, client: Client, train: Train
) -> None:
    def slow(spec: JobSpec) -> float:
        # By the record, since that tells the study how long a job takes: so long that the jobs
        # of the smallest one need all 20 seconds, of which it takes four fifths at the most.
        [pilot] = client.jobs()
        end = pilot.message.start_time.ToMicroseconds() / 1e6 + 20 / LEAST_JOBS
        wait_until(lambda: time.time() > end, timeout=10, what="the pilot is slow")
        return 1.0

    train(slow)
    done = talweg("study", "wine", "--budget", "20s")
    assert done.status == 2
    assert re.search(r"budget: found 20s; allowed at least \d+ (s|min)\. one job takes", done.err)
    assert list(client.sweeps()) == []


def test_a_pilot_that_outlasts_the_time_is_cancelled(talweg: Talweg, client: Client) -> None:
    # Nobody trains.
    done = talweg("study", "wine", "--budget", "1s")
    assert done.status == 2
    assert "budget: found 1s; allowed more. not even one job has ended" in done.err
    [job] = client.jobs()
    assert job.state == "CANCELLED"
    assert list(client.sweeps()) == []


@pytest.mark.parametrize(
    ("data", "task", "model"),
    [
        ("wine", "multiclass", "mlp"),
        ("digits", "multiclass", "convnet"),
        ("digit_scenes", "segmentation", "unet"),
        ("digit_scenes", "detection", "detector"),
    ],
)
def test_a_pilot_that_fails_ends_the_study(
    talweg: Talweg, client: Client, train: Train, data: str, task: str, model: str
) -> None:
    train(lambda spec: jobs_pb2.Job.FAILED)
    done = talweg("study", data, "--task", task, "--budget", "1m")
    assert done.status == 1
    assert "ended as FAILED: no luck" in done.err
    assert list(client.sweeps()) == []
    [job] = client.jobs()
    assert job.message.spec.model.WhichOneof("kind") == model
