import json
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from tests.client.samples import sample

from talweg.client import Client, InvalidSpec, read_jobs
from talweg.client._files import MAX_FILE_BYTES, check_size, merge, to_spec
from talweg.spec import MAX_SPEC_BYTES, from_dict, to_dict
from talweg.v1.spec_pb2 import JobSpec

EXAMPLES = Path(__file__).parents[2] / "client/examples"


def write(folder: Path, value: object, name: str = "job.yaml") -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    return path


@pytest.mark.parametrize(
    ("base", "changes", "merged"),
    [
        ({"training": {"epochs": 5, "seed": 1}}, {"training": {"seed": 2}},
         {"training": {"epochs": 5, "seed": 2}}),
        # A choice is replaced as a whole, also by another with the same name.
        ({"loss": {"huber": {"delta": 2}}}, {"loss": "mse"}, {"loss": "mse"}),
        ({"loss": {"huber": {"delta": 2}}}, {"loss": {"huber": {}}}, {"loss": {"huber": {}}}),
        ({"optimizer": {"adamw": {"learning_rate": 1}}}, {"optimizer": {"adamw": {"eps": 1}}},
         {"optimizer": {"adamw": {"eps": 1}}}),
        # So are the members of other oneofs.
        ({"training": {"epochs": 5}}, {"training": {"steps": 9}}, {"training": {"steps": 9}}),
        ({"training": {"clip_norm": 1, "seed": 1}}, {"training": {"clip_value": 2}},
         {"training": {"clip_value": 2, "seed": 1}}),
        # Messages below messages.
        ({"preprocessing": {"target_outliers": {"share": 0.1}}},
         {"preprocessing": {"target_outliers": {"seed": 3}}},
         {"preprocessing": {"target_outliers": {"share": 0.1, "seed": 3}}}),
        ({"tags": {"a": "1", "b": "2"}}, {"tags": {"b": "3"}}, {"tags": {"a": "1", "b": "3"}}),
        ({"model": {"mlp": {"hidden": [1, 2]}}}, {"model": {"mlp": {"hidden": [3]}}},
         {"model": {"mlp": {"hidden": [3]}}}),
        ({"training": {"early_stopping": {"patience": 3}}}, {"training": {"early_stopping": None}},
         {"training": {"early_stopping": None}}),
        ({"experiment": "a"}, {"display_name": "b"}, {"experiment": "a", "display_name": "b"}),
        # What is no field is kept, for the check to refuse.
        ({"traning": 1}, {"los": "mse"}, {"traning": 1, "los": "mse"}),
        ({"training": 5}, {"training": {"seed": 1}}, {"training": {"seed": 1}}),
    ],
)  # fmt: skip
def test_merge(base: dict[str, Any], changes: dict[str, Any], merged: dict[str, Any]) -> None:
    before = json.dumps([base, changes])
    assert merge(base, changes, JobSpec.DESCRIPTOR) == merged
    assert json.dumps([base, changes]) == before


def test_job_file_is_a_batch_of_one(tmp_path: Path) -> None:
    (spec,) = read_jobs(write(tmp_path, sample(7)))
    assert spec == from_dict(sample(7))


def test_batch_file(tmp_path: Path) -> None:
    batch = {
        "base": sample(loss={"huber": {"delta": 2.0}}, tags={"team": "blue"}),
        "jobs": [{}, {"loss": "mae", "training": {"seed": 4}}, None],
    }
    first, second, third = read_jobs(write(tmp_path, batch))
    assert first.loss.huber.delta == 2
    assert first == third
    assert second.loss.HasField("mae")
    assert (second.training.epochs, second.training.seed) == (5, 4)
    assert second.tags == {"team": "blue"}


def test_json_batch(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"jobs": [sample(0), sample(1)]}), "batch.json")
    assert [spec.training.seed for spec in read_jobs(path)] == [0, 1]


def test_overrides_change_each_job(tmp_path: Path) -> None:
    path = write(tmp_path, {"base": sample(), "jobs": [{"loss": "mae"}, {}]})
    specs = read_jobs(path, overrides=["training.steps=3", "optimizer.sgd.learning_rate=1e-2"])
    for spec in specs:
        assert spec.training.WhichOneof("length") == "steps"
        assert spec.optimizer.sgd.learning_rate == 0.01
    assert specs[0].loss.HasField("mae")


def test_bad_override_is_told_once(tmp_path: Path) -> None:
    path = write(tmp_path, {"base": sample(), "jobs": [{}, {}]})
    with pytest.raises(InvalidSpec) as raised:
        read_jobs(path, overrides=["traning.steps=3"])
    (violation,) = raised.value.violations
    assert violation.field == "traning"
    assert "training" in violation.hint


def test_what_all_jobs_share_is_told_once_the_rest_by_its_job(tmp_path: Path) -> None:
    batch = {"base": {**sample(), "traning": {}}, "jobs": [{}, {"los": "mae"}, {}]}
    with pytest.raises(InvalidSpec) as raised:
        read_jobs(write(tmp_path, batch))
    assert [violation.field for violation in raised.value.violations] == ["traning", "jobs[1].los"]
    assert raised.value.source.endswith("job.yaml")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"jobs": []}, "jobs"),
        ({"base": sample()}, "jobs"),
        ({"base": 5, "jobs": [{}]}, "base"),
        ({"jobs": [{}], "loss": "mse"}, "loss"),
        ({"base": sample(), "jobs": [5]}, ""),
        ("loss: [", "job.yaml:1:8"),
        ("", ""),
    ],
)
def test_malformed_file(tmp_path: Path, content: object, field: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        read_jobs(write(tmp_path, content))
    assert any(violation.field.endswith(field) for violation in raised.value.violations)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"task: \xff")
    with pytest.raises(InvalidSpec, match="byte 6 that is not UTF-8"):
        read_jobs(path)


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_jobs(tmp_path / "none.yaml")


def test_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    with path.open("wb") as file:
        file.truncate(50 * MAX_FILE_BYTES)
    tracemalloc.start()
    with pytest.raises(InvalidSpec, match=r"found a file of 50\.0 MiB; allowed at most 1\.0 MiB"):
        read_jobs(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * MAX_FILE_BYTES


def test_spec_size_names_size_and_bound() -> None:
    spec = JobSpec(display_name="x" * (MAX_SPEC_BYTES - 5))
    check_size(spec)
    with pytest.raises(InvalidSpec, match=r"found a spec of 10\.0 MiB; allowed at most 256 KiB"):
        check_size(JobSpec(display_name="x" * 10 * 1024 * 1024))


def test_large_spec_is_never_sent() -> None:
    with (
        Client("127.0.0.1:1") as client,
        pytest.raises(InvalidSpec, match="256 KiB"),
    ):
        client.submit(sample(display_name="x" * 300_000))


def test_spec_comes_in_three_forms(tmp_path: Path) -> None:
    message = from_dict(sample(3))
    assert to_spec(message) is message
    assert to_spec(sample(3)) == message
    path = write(tmp_path, sample(3))
    assert to_spec(path) == message
    assert to_spec(str(path)) == message


def test_batch_where_one_job_is_wanted_says_what_takes_it(tmp_path: Path) -> None:
    path = write(tmp_path, {"jobs": [sample(0), sample(1)]})
    with pytest.raises(InvalidSpec, match="submit_many"):
        to_spec(path)


def test_mapping_with_mistakes_lists_them_all() -> None:
    with pytest.raises(InvalidSpec) as raised:
        to_spec(sample(los="mse", training={"epochs": "many"}))
    assert {violation.field for violation in raised.value.violations} == {
        "los", "training.epochs"
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    from talweg.spec import check, fill

    for spec in read_jobs(path):
        violations, warnings = check(fill(spec))
        assert not violations
        assert not warnings
        assert from_dict(to_dict(spec)) == spec


def test_sweep_where_jobs_are_wanted_says_what_takes_it(tmp_path: Path) -> None:
    path = write(tmp_path, {"base": sample(), "space": [{"path": "loss", "values": ["mse"]}]})
    for convert in (to_spec, read_jobs):
        with pytest.raises(InvalidSpec, match=r"found a sweep.* use client\.sweep\('"):
            convert(path)
    with pytest.raises(InvalidSpec, match="or space, for a sweep"):
        read_jobs(write(tmp_path, {"base": sample(), "seeds": 3}))


def test_a_batch_is_read_no_further_after_very_many_violations(tmp_path: Path) -> None:
    jobs = [sample() | {f"k{job}_{number}": 1 for number in range(30)} for job in range(200)]
    with pytest.raises(InvalidSpec) as caught:
        read_jobs(write(tmp_path, {"jobs": jobs}))
    fields = [violation.field for violation in caught.value.violations]
    assert fields[0] == "jobs[0].k0_0"
    assert {field.partition(".")[0] for field in fields} == {f"jobs[{job}]" for job in range(4)}
    assert len(fields) == 120


def test_a_small_file_cannot_stand_for_a_huge_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {**sample(), "tags": {f"k{index}": "a" for index in range(2_000)}}
    path = write(tmp_path, json.dumps({"base": base, "jobs": [{}] * 2_000}), "job.json")
    merged = mock.Mock(side_effect=merge)
    monkeypatch.setattr("talweg.client._files.merge", merged)
    with pytest.raises(InvalidSpec) as error:
        read_jobs(path)
    # It was refused before a job was made of it.
    assert not merged.called
    (violation,) = error.value.violations
    assert violation.field == "jobs"
    assert "2,000 jobs with 8," in violation.found
    assert violation.allowed == "at most 1,000,000"
    assert "make base smaller" in violation.hint
    path = write(tmp_path, json.dumps({"base": base, "jobs": [{}] * 20}), "job.json")
    assert len(read_jobs(path)) == merged.call_count == 20
