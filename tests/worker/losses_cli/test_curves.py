"""`talweg losses plot`: what is drawn over what, and the numbers in the picture."""

import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from talweg.client.cli._root import run
from talweg.spec import SpecError, losses
from talweg.worker.losses_cli.curves import AXES, Curve, choose, draw
from talweg.worker.losses_cli.picture import save
from talweg.worker.losses_cli.shorthand import read


def curve(text: str, **options: Any) -> Curve:
    """Return one loss's curve, over the axis of its own choice."""
    asked = read(text)
    return draw(asked, choose([asked], **options))


def at(found: Curve, x: float) -> tuple[float, float]:
    """Value and gradient where a curve comes nearest to x."""
    index = min(range(len(found.x)), key=lambda i: abs(found.x[i] - x))
    assert found.x[index] == pytest.approx(x, abs=1e-9)
    return found.value[index], found.gradient[index]


SOFTPLUS_2 = math.log1p(math.exp(2))
SIGMOID_2 = 1 / (1 + math.exp(-2))


# loss, where, value, gradient
POINTS: list[tuple[str, float, float, float]] = [
    ("mse", -2, 4, -4),
    ("mae", 0, 0, 0),
    ("huber:delta=0.5", 2, 0.875, 0.5),
    ("huber: delta = 0.5", -2, 0.875, -0.5),
    ("{huber: {delta: 0.5}}", -2, 0.875, -0.5),
    ('{"huber": {"delta": 0.5, "reduction": "sum"}}', -2, 0.875, -0.5),
    ("quantile:q=0.9", -2, 1.8, -0.9),
    ("multi_quantile:quantiles=[0.1, 0.9]", 2, 1, 0.5),
    ("{sum: {terms: [{loss: mse}, {loss: mae, weight: 3}]}}", 2, 10, 7),
    ("{sum: {terms: [{loss: mse}, {loss: {expression: mean(abs(pred - target))}}]}}", 2, 6, 5),
    ("expression:formula=where(pred > target, k, 1) * (pred - target)**2,params.k=3", 2, 12, 12),
    ("expression:formula=square(mean(pred))", -2, 4, -4),
    # Counts: the target is 1, and a prediction is a rate although the loss takes its logarithm.
    ("poisson_nll", 2, 3 - math.log(3), 1 - 1 / 3),
    ("poisson_nll:log_input=false", 2, 3 - math.log(3), 1 - 1 / 3),
    ("bce_with_logits", -2, SOFTPLUS_2, -SIGMOID_2),
    ("bce_with_logits:pos_weight=[2]", -2, 2 * SOFTPLUS_2, -2 * SIGMOID_2),
    ("bce_with_logits:pos_weight=[2, 4]", -2, 3 * SOFTPLUS_2, -3 * SIGMOID_2),
    ("bce", -2, SOFTPLUS_2, -SIGMOID_2),
    ("cross_entropy", 0.5, math.log(2), -0.5),
    ("focal:gamma=1", 0.5, math.log(2) / 2, -0.5 / 2 - math.log(2) / 4),
    ("focal:gamma=0,alpha=[3, 1]", 0.5, 3 * math.log(2), -1.5),
    ("cross_entropy:weight=[2, 1, 1]", 0.5, 2 * math.log(2), -1),
    # Ten classes, of which the nine wrong ones share the rest: each is ahead by log 1/9.
    ("multi_margin:margin=3", 0.5, 9 * (3 - math.log(9)) / 10, -0.9),
]


@pytest.mark.parametrize(("text", "x", "value", "slope"), POINTS, ids=[row[0] for row in POINTS])
def test_points_on_curves(text: str, x: float, value: float, slope: float) -> None:
    found = curve(text)
    assert at(found, x) == pytest.approx((value, slope), rel=1e-6, abs=1e-12)


NEEDS = {
    "multi_quantile": "multi_quantile:quantiles=[0.1, 0.9]",
    "sum": "{sum: {terms: [{loss: mae}]}}",
    "expression": "expression:formula=abs(pred - target)",
}


# They need the classes' counts, vectors, a teacher, sequences or difficulties.
NO_CURVE = ("logit_adjusted", "ldam", "distillation", "ctc", "arcface", "cosface", "curriculum")


@pytest.mark.parametrize("name", [entry.name for entry in losses() if entry.name != "plugin"])
def test_every_loss_of_one_number_has_a_curve(name: str) -> None:
    text = NEEDS.get(name, name)
    if name in NO_CURVE or not any(task in (1, 2, 3, 4) for task in next(
        entry.facts.tasks for entry in losses() if entry.name == name
    )):  # fmt: skip
        with pytest.raises(ValueError, match="has no curve"):
            curve(text)
        return
    found = curve(text)
    drawn = [v for v in zip(found.value, found.gradient, strict=True) if not math.isnan(v[0])]
    assert len(drawn) > len(found.x) / 2
    assert all(math.isfinite(number) for pair in drawn for number in pair)
    # The slope is that of the value.
    middle = len(found.x) * 3 // 4
    if found.x[0] < -1:
        step = found.x[middle + 1] - found.x[middle - 1]
        rise = found.value[middle + 1] - found.value[middle - 1]
        assert rise / step == pytest.approx(found.gradient[middle], rel=0.02, abs=1e-4)


def test_counts_have_no_curve_where_they_would_be_negative() -> None:
    found = curve("poisson_nll")
    assert all(math.isnan(v) == (x <= -1) for x, v in zip(found.x, found.value, strict=True))


def test_target_and_range() -> None:
    relative = "expression:formula=abs(pred - target) / target"
    assert at(curve(relative, target=4.0), 2)[0] == pytest.approx(0.5)
    found = curve("mse", bounds=(0.0, 10.0))
    assert (found.x[0], found.x[-1], found.value[-1]) == (0, 10, 100)
    assert at(curve("bce_with_logits", target=0.0), 2)[0] == pytest.approx(SOFTPLUS_2)


def axis_of(*texts: str, **options: Any) -> str:
    return choose([read(text) for text in texts], **options).axis.name


def test_the_axis_that_losses_share() -> None:
    formula = "expression:formula=abs(pred - target)"
    assert axis_of("mse", "huber", formula) == "error"
    assert axis_of(formula) == "error"
    assert axis_of(formula, axis=AXES["logit"]) == "logit"
    assert axis_of(formula, "bce_with_logits", "bce") == "logit"
    assert axis_of("focal", "cross_entropy") == "probability"
    assert axis_of("{sum: {terms: [{loss: focal}, {loss: poly1}]}}", "focal") == "probability"


@pytest.mark.parametrize(
    ("texts", "options", "says"),
    [
        (["mse", "focal"], {}, "must share an axis, but got mse over error; focal over proba"),
        (["{sum: {terms: [{loss: mse}, {loss: focal}]}}"], {}, "has no curve"),
        (["mse"], {"axis": AXES["logit"]}, "axis of mse must be error, but got logit"),
        (["mse"], {"bounds": (3.0, -3.0)}, "the lower first, but got 3 -3"),
        (["mse"], {"bounds": (0.0, math.nan)}, "but got 0 nan"),
        (["focal"], {"bounds": (0.0, 2.0)}, "from 0 to 1, the lower first, but got 0 2"),
        (["focal"], {"target": 1.0}, "target must be left out"),
        (["mse"], {"target": math.nan}, r"target must be from -1e\+06 to 1e\+06, but got nan"),
        (["focal:alpha=[1, 2]", "focal:alpha=[1, 2, 3]"], {}, "as many classes, got 2 and 3"),
    ],
)
def test_choices_that_are_refused(texts: list[str], options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        axis_of(*texts, **options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hubr", "did you mean 'huber'"),
        ("hubr:delta=1", "did you mean 'huber'"),
        ("huber:dleta=1", "did you mean 'delta'"),
        ("huber:delta=-1", "loss.huber.delta: found -1; allowed a number > 0"),
        ("expression:formula=abs(prd)", "found 'prd' at column 5"),
        ("{mse: {}", "loss:"),
        ("{mse: {}, mae: {}}", "both mse and mae"),
        ("", "loss"),
    ],
)
def test_losses_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(SpecError) as error:
        read(text)
    assert says in str(error.value)
    with pytest.raises(ValueError, match="must be NAME=VALUE, but got 'delta'"):
        read("huber:delta")


def test_labels() -> None:
    assert read("huber").label == "huber"
    assert read("huber:delta=1").label == "huber delta=1"
    assert read("focal:gamma=1,alpha=[1, 2]").label == "focal gamma=1 alpha=[1, 2]"
    assert read("{huber: {delta: 2}}").label == "huber delta=2"
    assert read("expression:formula=k*abs(pred),params.k=2").label == "k*abs(pred) k=2"
    assert len(read(f"expression:formula=pred{' + pred' * 15}").label) == 60


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_command_writes_the_same_picture_again(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (first, second):
        words = ["losses", "plot", "huber:delta=1", "mse", "log_cosh", "-o", str(path)]
        assert run([*words, "--range", "-2", "2"]) == 0
        assert capsys.readouterr().out == f"wrote {path}\n"
    assert first.read_bytes() == second.read_bytes()
    assert (
        first.read_bytes()[:5]
        == {".png": b"\x89PNG\r", ".svg": b"<?xml", ".pdf": b"%PDF-"}[suffix]
    )


def test_every_curve_can_be_seen_even_where_they_agree(tmp_path: Path) -> None:
    asked = [read("bce_with_logits"), read("bce"), read("expression:formula=softplus(-pred)")]
    setting = choose(asked)
    path = tmp_path / "same.png"
    save([draw(one, setting) for one in asked], setting, path)
    # The left panel alone, without the legend.
    picture = imread(path)[: 4 * 130, :750, :3]
    for colour in ((0x1F, 0x6F, 0x8B), (0xC0, 0x39, 0x2B), (0xB8, 0x86, 0x0B)):
        near = abs(picture * 255 - colour).max(axis=-1) < 3
        assert near.sum() > 200


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mse", "focal", "-o", "x.png"], "must share an axis"),
        (["mse", "-o", "x.gif"], "must end in .png, .svg, .pdf, but got x.gif"),
        (["mse"], "Missing option"),
        (["-o", "x.png"], "Missing argument"),
        (["mse", "-o", "no/such/folder/x.png"], "no/such/folder/x.png"),
        (["bce_with_logits", "--target", "3", "-o", "x.png"], "between 0 and 1, but got 3"),
        (["plugin:name=none", "-o", "x.png"], "none, but got 'none'"),
    ],
)
def test_what_the_command_refuses(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["losses", "plot", *words]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
