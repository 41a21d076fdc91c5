"""`talweg loss check`: losses over lines of JSON."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.losses.cases import CASES, Case

from talweg.worker.losses import evaluate
from talweg.worker.losses_cli.lines import answers

TALWEG = [sys.executable, "-m", "talweg.client.cli"]
PAIR = {"pred": [2.5, 0.0, 2.1, 7.8], "target": [3.0, -0.5, 2.0, 8.0]}


def answer(line: object) -> dict[str, Any]:
    """Return what comes of one line."""
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    (found,) = answers([text])
    parsed: dict[str, Any] = json.loads(found.text)
    assert found.failed == ("error" in parsed)
    assert parsed.pop("line") == 1
    return parsed


def test_value_and_gradient() -> None:
    found = answer({"loss": "mse", "inputs": PAIR, "grad": True, "dtype": "float64"})
    assert found["value"] == pytest.approx(0.1375, rel=1e-12)
    assert found["grad"]["pred"] == pytest.approx([-0.25, 0.25, 0.05, -0.1], rel=1e-12)
    assert found["grad"]["target"] == pytest.approx([0.25, -0.25, -0.05, 0.1], rel=1e-12)
    assert set(answer({"loss": "mse", "inputs": PAIR})) == {"value"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_loss_gives_what_evaluate_gives(case: Case) -> None:
    inputs = case.inputs()
    line = {
        "loss": case.spec(),
        "inputs": {name: tensor.tolist() for name, tensor in inputs.items()},
        "grad": True,
        "dtype": "float64",
    }
    found = answer(line)
    value = evaluate(case.spec(), inputs)
    assert found["value"] == value.item()
    (slope,) = torch.autograd.grad(value, inputs["pred"])
    assert found["grad"]["pred"] == slope.tolist()


def test_types_of_numbers() -> None:
    third = {"pred": [1 / 3], "target": [0.0]}
    wide = answer({"loss": "mae", "inputs": third, "dtype": "float64"})["value"]
    assert wide == 1 / 3
    assert answer({"loss": "mae", "inputs": third})["value"] == torch.tensor(1 / 3).item() != wide
    logits = [[1.0, 2.0]]
    assert "value" in answer({"loss": "focal", "inputs": {"pred": logits, "target": [1]}})
    found = answer({"loss": "focal", "inputs": {"pred": logits, "target": [1.0]}})
    assert "target must hold integers" in found["error"]
    whole = {"pred": [1, 2], "target": [1, 0]}
    found = answer({"loss": "bce_with_logits", "inputs": whole})
    assert "write 1.0 for 1" in found["error"]
    types = {"pred": "float64", "target": "float16"}
    found = answer({"loss": "bce_with_logits", "inputs": whole, "dtype": types})
    assert found["value"] == pytest.approx(
        (math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    )
    mixed = {"pred": [1, 2.5], "target": [0, 0]}
    assert answer({"loss": "mae", "inputs": mixed})["value"] == 1.75


def test_an_unreduced_loss_keeps_its_shape_and_has_the_gradient_of_its_sum() -> None:
    inputs = {"pred": [[1.0, 2.0], [3.0, 5.0]], "target": [[1.0, 0.0], [0.0, 0.0]]}
    line = {"loss": {"mse": {"reduction": "none"}}, "inputs": inputs, "grad": True}
    found = answer(line)
    assert found["value"] == [[0, 4], [9, 25]]
    assert found["grad"]["pred"] == [[0, 4], [6, 10]]


def test_numbers_that_json_has_not() -> None:
    inputs = {"pred": ["nan", 1.0, "inf", "-inf"], "target": [1.0, 1.0, 2.0, 3.0]}
    line = {"loss": {"mse": {"reduction": "none"}}, "inputs": inputs, "grad": True}
    found = answer(line)
    assert found["value"] == ["nan", 0, "inf", "inf"]
    assert found["grad"]["pred"] == ["nan", 0, "inf", "-inf"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"not json", "the line is not JSON: Expecting value"),
        (b"\xff{}", "the line is not JSON: "),
        (b"[" * 5000, "the line is not JSON"),
        ([1], "a line must be an object with loss, inputs, grad, dtype"),
        ({"loss": "mse", "input": PAIR}, "but got input"),
        ({"loss": "mse"}, "inputs must be an object"),
        ({"inputs": PAIR}, "loss: found nothing"),
        ({"loss": {"huber": {"delta": -1}}, "inputs": PAIR}, "loss.huber.delta: found -1"),
        ({"loss": "hubr", "inputs": PAIR}, "did you mean 'huber'?"),
        ({"loss": "mse", "inputs": {"pred": [1.0]}}, "missing target"),
        ({"loss": "mse", "inputs": {**PAIR, "x": 1.0}}, "unknown x"),
        ({"loss": "mse", "inputs": {**PAIR, "pred": [[1.0], 2.0]}}, "got (1,), ()"),
        ({"loss": "mse", "inputs": {**PAIR, "pred": [None]}}, 'pred must hold numbers'),
        ({"loss": "mse", "inputs": {**PAIR, "pred": ["1"]}}, 'but got "1"'),
        ({"loss": "mse", "inputs": {**PAIR, "target": [10**30] * 4}}, "target must hold numbers"),
        ({"loss": "mse", "inputs": PAIR, "grad": 1}, "grad must be true or false, but got 1"),
        ({"loss": "mse", "inputs": PAIR, "dtype": "int64"}, 'but got "int64"'),
        ({"loss": "mse", "inputs": PAIR, "dtype": {"pred": "f4"}}, 'dtype of pred must be one of'),
        ({"loss": "mse", "inputs": PAIR, "dtype": {"pred": []}}, 'dtype of pred must be one of'),
        ({"loss": "mse", "inputs": PAIR, "dtype": {"prd": "float16"}}, "but got prd"),
        (
            {"loss": "focal", "inputs": {"pred": [[1.0, 2.0]], "target": [5]}},
            "a class index from 0 to 1 or ignore_index -100, but got 5",
        ),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_what_is_wrong_with_a_line(line: object, says: str) -> None:
    assert says in answer(line)["error"]


def test_the_command_answers_every_line_and_fails_for_one(tmp_path: Path) -> None:
    good = json.dumps({"loss": "mse", "inputs": PAIR})
    bad = json.dumps({"loss": "mse\ud800", "inputs": PAIR})
    file = tmp_path / "lines.jsonl"
    file.write_text(f"{good}\r\n{bad}\n\n{good}\n")

    done = subprocess.run(
        [*TALWEG, "loss", "check", str(file)], capture_output=True, text=True, timeout=360
    )

    assert done.returncode == 1, done.stderr
    first, second, last = map(json.loads, done.stdout.splitlines())
    assert first["value"] == last["value"] == pytest.approx(0.1375, rel=1e-6)
    assert [row["line"] for row in (first, second, last)] == [1, 2, 4]
    assert "error" in second
    done = subprocess.run(
        [*TALWEG, "loss", "check", "-"], input=good, capture_output=True, text=True, timeout=360
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, first)
