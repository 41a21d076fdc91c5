"""Sweep files: read with their places, told from job files, and the examples among them."""

import re
from pathlib import Path

import pytest
import yaml
from tests.client.sweeps.training import sweep

from talweg.client import InvalidSpec
from talweg.client.sweeps._files import read_specs, read_sweep, sweep_of, to_sweep
from talweg.spec import check, fill, from_dict, read, to_dict
from talweg.spec.sweeps import (
    Plan,
    check_objective,
    check_sweep,
    fill_objective,
    fill_sweep,
    first_settings,
)
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.sweeps_pb2 import Algorithm, Dimension, Pruning, SweepSpec

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "client/examples/sweeps"


def write(folder: Path, value: object) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def test_paths_of_data_are_relative_to_the_file(tmp_path: Path) -> None:
    base = {**sweep()["base"], "dataset": {"file": {"path": "houses.csv", "target": "price"}}}
    spec = to_sweep(write(tmp_path, sweep(base=base)))
    assert spec.base.dataset.file.path == str(tmp_path / "houses.csv")


def test_overrides_change_the_base(tmp_path: Path) -> None:
    path = write(tmp_path, sweep())
    changed = read_sweep(path, overrides=["training.epochs=9", "experiment=mine"])
    assert (changed.base.training.epochs, changed.base.experiment) == (9, "mine")
    without_base = write(tmp_path, {"space": sweep()["space"]})
    assert read_sweep(without_base, overrides=["dataset=digits"]).base.dataset.HasField("digits")


def test_a_file_is_a_sweep_or_jobs(tmp_path: Path) -> None:
    assert isinstance(read_specs(write(tmp_path, sweep())), SweepSpec)
    assert isinstance(read_specs(write(tmp_path, {"jobs": [sweep()["base"]]})), list)
    assert isinstance(read_specs(write(tmp_path, sweep()["base"])), list)


def test_mistakes_are_listed_with_their_places(tmp_path: Path) -> None:
    wrong = sweep(base={**sweep()["base"], "traning": {}}, sede=3)
    wrong["space"].append({"path": "loss", "valuess": [1]})
    with pytest.raises(InvalidSpec) as caught:
        read_specs(write(tmp_path, wrong))
    fields = {each.field for each in caught.value.violations}
    assert fields == {"base.traning", "space[2].valuess", "sede"}
    assert caught.value.source == str(tmp_path / "sweep.yaml")


def assert_valid(spec: SweepSpec) -> None:
    """Check a sweep as the server does."""
    assert from_dict(to_dict(spec), SweepSpec) == spec
    filled = fill_sweep(spec)
    assert check_sweep(filled) == []
    plan = Plan(filled)
    jobs = [fill(plan.job(setting, 0)) for setting in first_settings(plan)]
    fill_objective(filled, jobs[0])
    assert list(check_objective(filled, jobs)) == []
    for job in jobs:
        violations, warnings = check(job)
        assert violations == []
        # What the example asks is whether the loss needs class weights.
        assert {each.kind for each in warnings} <= {Warning.IMBALANCE_WITHOUT_WEIGHTS}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    assert_valid(read_sweep(path))


def test_the_file_on_the_page_is_valid_and_has_every_field() -> None:
    page = (ROOT / "docs/sweeps.md").read_text()
    text = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.M | re.S)[0]
    spec = sweep_of(read(text, source="sweeps.md"))
    assert_valid(spec)
    # What cannot stand beside `decide` is there as a comment.
    commented = set(re.findall(r"^# (\w+): ", text, flags=re.M))
    assert {field.name for field, _ in spec.ListFields()} | commented == {
        field.name for field in SweepSpec.DESCRIPTOR.fields
    }
    for form in Dimension.DESCRIPTOR.fields_by_name:
        assert form == "path" or re.search(rf"^\| `{form}: ", page, flags=re.M), form
    for kind in (*Algorithm.DESCRIPTOR.fields_by_name, *Pruning.DESCRIPTOR.fields_by_name):
        assert re.search(rf"^\| `{kind}` ", page, flags=re.M), kind
