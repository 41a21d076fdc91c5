"""Recommendations that look at the data: which data, which task, and what stands over what."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from talweg.client.cli._root import run
from talweg.spec import check, fill, from_dict

SKEWED = "synthetic_classification:num_classes=3,class_shares=[0.96, 0.02, 0.02]"
OUTLIERS = """
task: regression
dataset: diabetes
preprocessing: {target_outliers: {share: 0.1, low_sd: 6, high_sd: 9}}
model: linear
loss: mse
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is known."""
    for name in ("TALWEG_ADDRESS", "TALWEG_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["recommend", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def kinds(found: dict[str, Any]) -> list[str]:
    return [next(iter(each["loss"])) for each in found["recommendations"]]


def measured(found: dict[str, Any]) -> dict[str, Any]:
    return {each["fact"]: each["value"] for each in found["measured"] if "fact" in each}


def test_skewed_classes_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "--data", SKEWED, "--task", "multiclass")
    assert measured(found) == {"num_classes": 3, "imbalance": 48}
    first, second = found["recommendations"][:2]
    assert kinds(found)[0] == "logit_adjusted"
    assert second["loss"]["cross_entropy"]["weight"] == {"balanced": {}}
    assert "48 to 1" in first["reason"]
    even = answer(
        capsys, "--data", "synthetic_classification:num_classes=3", "--task", "multiclass"
    )
    assert kinds(even)[0] == "cross_entropy"


def test_a_job_files_outliers_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = answer(capsys, "--data", "diabetes", "--task", "regression")
    assert kinds(plain)[0] == "mse"
    (tmp_path / "job.yaml").write_text(OUTLIERS)
    found = answer(capsys, "--data", "job.yaml")
    assert found["task"] == "regression"
    assert measured(found) == {"outliers": 0.1015}
    assert "mse" not in kinds(found)
    assert kinds(found)[0] == "mae"
    assert run(["recommend", "--data", "job.yaml"]) == 0
    out = capsys.readouterr().out
    assert "measured on the training split of diabetes for regression:" in out
    assert "outliers 0.1015: 27 of 266 targets lie beyond 3.5 robust sd" in out


def test_what_is_given_stands_over_what_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "--data", SKEWED, "--task", "multiclass", "--imbalance", "1")
    assert kinds(found)[0] == "cross_entropy"
    used = {each["fact"]: each["used"] for each in found["measured"] if "fact" in each}
    assert used == {"num_classes": True, "imbalance": False}
    found = answer(capsys, "--data", "diabetes", "--task", "regression", "--heavy-tailed")
    assert kinds(found)[0] == "huber"
    assert run(["recommend", "--data", "wine", "--imbalance", "30"]) == 0
    assert "(not used: overridden on the command line)" in capsys.readouterr().out


def test_known_pairs_leave_the_number_of_classes_aside(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", "digits", "--task", "metric_learning", "--known", "pairs")
    assert kinds(answer(capsys, *arguments))[0] == "contrastive"


def test_the_yaml_is_a_job_but_for_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", "--data", SKEWED, "--task", "multiclass", "--yaml"]) == 0
    out = capsys.readouterr().out
    assert "#   imbalance 48: 576 samples of the most frequent class (class 0), 12 of" in out
    job = yaml.safe_load(out)
    assert job["dataset"]["synthetic_classification"]["num_classes"] == 3
    assert not check(fill(from_dict({"model": "mlp", **job})))[0]


HEADS = """
task: {multitask: {heads: [{segmentation: {target: foreground}}, depth]}}
dataset: {digit_scenes: {num_samples: 60}}
"""


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        (["--data", "digit_scenes:num_samples=60", "--task", "segmentation"], "unet"),
        (["--data", "digit_scenes:num_samples=60", "--task", "segmentation", "--masks", "binary"],
         "unet"),
        (["--data", "digit_pairs", "--task", "metric_learning"], "embedder"),
        (["--data", "digits", "--task", "metric_learning", "--known", "pairs"], "embedder"),
        (["--data", "gaussian_ring", "--task", "gan", "--critic", "gradient_penalty"],
         "adversarial"),
        (["--data", "heads.yaml"], "multi_head"),
        (["--data", "heads.yaml", "--speeds-differ"], "multi_head"),
    ],
)  # fmt: skip
def test_what_it_prints_for_data_is_accepted(
    arguments: list[str], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "heads.yaml").write_text(HEADS)
    for rank in range(1, 20):
        if run(["recommend", *arguments, "--yaml", "--rank", str(rank)]):
            break
        job = {"model": model, **yaml.safe_load(capsys.readouterr().out)}
        assert not check(fill(from_dict(job)))[0], job["loss"]
    assert rank > 2
    assert "--rank must be <=" in capsys.readouterr().err


def test_the_task_of_data_that_serve_one_need_not_be_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert answer(capsys, "--data", "wine")["task"] == "multiclass"
    assert answer(capsys, "--data", "synthetic_multilabel")["task"] == "multilabel"


def test_where_nothing_is_measured_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", "--data", "wine", "--task", "gan"]) == 0
    assert "nothing: no fact of this task can be measured" in capsys.readouterr().out


BAD: list[tuple[list[str], str]] = [
    (["--data", "diabetes"], "choose one, --task regression|ordinal|multitask"),
    (["--data", "digitz"], "did you mean 'digits'"),
    (["--data", "wine:colour=red"], "dataset.wine.colour"),
    (["--data", "wine:red"], "parameters must be NAME=VALUE, but got 'red'"),
    (["--data", "wine", "--task", "regression"], "whose targets do not suit task regression"),
    (["--data", "digits", "--task", "clusters"], "allowed one of multiclass, metric_learning,"),
    (["--data", "synthetic_regression:num_samples=1", "--task", "regression"], "found 1; allowed"),
    (["--data", "digit_scenes", "--task", "multitask"], "has its heads in the job file"),
    (["--data", "absent.yaml"], "absent.yaml: No such file"),
    (["--data", "two.yaml"], "has jobs with 2 different tasks or data"),
    (["--data", "wine", "--imbalance", "many"], 'facts.imbalance: found "many"'),
    (["--data", "wine", "--imbalance", "0.5"], "facts.imbalance: found 0.5"),
    ([], "Missing option '--task'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_bad_input_is_wrong_usage(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two.yaml").write_text(
        "base: {task: multiclass}\njobs: [dataset: wine, dataset: iris]"
    )
    assert run(["recommend", *arguments]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""


def test_data_that_may_be_stored_need_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", "--data", "my-photos"]) == 4
    assert "no server is known" in capsys.readouterr().err


def test_without_the_workers_part_the_error_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; from talweg.client.cli._root import run; "
        "sys.exit(run(['recommend', '--data', 'wine']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "`talweg recommend --data` needs torch" in done.stderr
    assert "pip install 'talweg[worker]'" in done.stderr
    assert "Traceback" not in done.stderr
