"""The report of a sweep: what stands on the page, and that nothing is loaded from elsewhere."""

import random
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.client.commands import Talweg
from tests.client.sweeps.training import Training, Value, sweep

from talweg.client import Client
from talweg.reports import Curve, ReportContents, render
from talweg.reports.axes import Axis, tick_text
from talweg.reports.figures import student_t
from talweg.reports.importance import _ranks, importances
from talweg.spec import from_dict
from talweg.v1 import jobs_pb2
from talweg.v1.options_pb2 import Goal
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import AnswerSweepResponse, SettingValue, Sweep, SweepSpec, Trial


def trial(number: int, value: float | None, **setting: object) -> Trial:
    made = Trial(number=number, state=Trial.SUCCEEDED, value=value, count=1)
    for path, each in setting.items():
        pair = SettingValue(path=path)
        if isinstance(each, str):
            pair.value.string_value = each
        else:
            pair.value.number_value = float(each)  # type: ignore[arg-type]
        made.setting.append(pair)
    return made


def trials() -> list[Trial]:
    """Thirty trials: `rate` decides, `size` is noise."""
    chance = random.Random(0)
    return [
        trial(number, 10 * rate + chance.random(), rate=rate, size=chance.choice([16, 32, 64]))
        for number in range(1, 31)
        for rate in [chance.random()]
    ]


def test_importance_finds_what_decides() -> None:
    first, second = importances(trials(), False)
    assert first.label == "rate"
    assert first.share > 0.7
    assert second.label == "size"
    assert second.share < 0.2


def test_importance_of_noise_is_next_to_nothing() -> None:
    chance = random.Random(1)
    noise = [
        trial(number, chance.random(), loss=chance.choice(["mse", "mae", "huber"]))
        for number in range(1, 201)
    ]
    [found] = importances(noise, False)
    assert found.share < 0.05


def test_paths_that_change_together_are_one() -> None:
    tied = [
        trial(number, chance, batch_size=size, clip_norm=1 + (size > 32), other=number)
        for number in range(1, 31)
        for size in [32 if number % 2 else 128]
        for chance in [size + number / 100]
    ]
    first, _ = importances(tied, False)
    assert first.paths == ("batch_size", "clip_norm")
    assert first.label == "batch_size + clip_norm"
    assert first.share > 0.7


@pytest.mark.parametrize("state", [Trial.PRUNED, Trial.DIVERGED])
@pytest.mark.parametrize("is_high", [False, True])
def test_what_makes_trials_end_early_matters(state: Trial.State.ValueType, is_high: bool) -> None:
    some = [trial(number, number % 5, rate=number % 2) for number in range(1, 31)]
    assert importances(some, is_high)[0].share < 0.1
    for each in some[::2]:
        # What it had reached by then looks better than what others ended with.
        each.state, each.value = state, 100 if is_high else -100
    assert importances(some, is_high)[0].share > 0.7


def test_ranks_of_many_trials_are_not_each_looked_up_among_all_others() -> None:
    compared = 0

    class Value(float):
        def __lt__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return float(self) < float(other)

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return isinstance(other, float) and float(self) == float(other)

        __hash__ = float.__hash__

    values = [(0, Value(number * 0.618034 % 1)) for number in range(1000)]
    assert sorted(_ranks(values)) == list(range(1000))
    # As sorting does it: a look at all others each time would take half a million.
    assert compared < 100_000


@pytest.mark.parametrize(("freedom", "t"), [(1, 12.71), (10, 2.23), (11, 2.201), (29, 2.045)])
def test_bands_are_as_wide_as_few_seeds_make_them(freedom: int, t: float) -> None:
    assert student_t(freedom) == pytest.approx(t, abs=0.003)


def test_few_trials_say_nothing_of_importance() -> None:
    assert importances(trials()[:8], False) == []


@pytest.mark.parametrize(
    ("low", "high", "is_log", "ticks"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1e-4, 1e-1, True, [1e-4, 1e-3, 1e-2, 1e-1]),
        (3, 3, False, [3]),
    ],
)
def test_ticks_are_round(low: float, high: float, is_log: bool, ticks: list[float]) -> None:
    assert Axis(low, high, 0, 100, is_log=is_log).ticks() == pytest.approx(ticks)


def test_texts_of_ticks() -> None:
    texts = [tick_text(value) for value in (0, 0.25, 1500, 2e6, 3e-5, -4.0)]
    assert texts == ["0", "0.25", "1,500", "2e6", "3e-5", "-4"]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def contents(**changes: object) -> ReportContents:
    spec = from_dict({**sweep(), "display_name": "a <b>bold</b> sweep & more"}, SweepSpec)
    made = Sweep(name="sweeps/abc", spec=spec, state=Sweep.SUCCEEDED, num_trials=30)
    fields: dict[str, object] = {
        "sweep": made,
        "answer": AnswerSweepResponse(text="mae is better than mse"),
        "trials": trials(),
        "goal": Goal.MINIMIZE,
        "curves": {"mae": [Curve([1, 2, 3], [1, 5, 9], [3, 2, 1]) for _ in range(3)]},
        **changes,
    }
    return ReportContents(**fields)  # type: ignore[arg-type]


def test_the_page_needs_nothing_else_and_escapes_what_users_wrote() -> None:
    text = render(contents())
    page = _Page()
    page.feed(text)
    assert page.links == []
    assert "script" not in page.tags
    assert "url(" not in text
    assert "a &lt;b&gt;bold&lt;/b&gt; sweep &amp; more" in text
    assert "<b>" not in text
    assert text.index("mae is better than mse") < text.index("Convergence") < text.index("Trials")
    # By steps and, as the jobs took long enough, by time.
    assert text.count("mean and 95% band over seeds") == 2
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize(
    ("goal", "told", "side"),
    [(Goal.MAXIMIZE, "higher is better", "right"), (Goal.MINIMIZE, "lower is better", "left")],
)
def test_what_is_better_is_that_of_the_compared_metric(
    goal: Goal.ValueType, told: str, side: str
) -> None:
    answer = AnswerSweepResponse(text="It depends.")
    answer.comparison.metric, answer.comparison.goal = "test/other", goal
    answer.comparison.groups.add(labels=["mae"])
    difference = answer.comparison.answer.groups.add(n=6).difference
    difference.mean = difference.interval.low = difference.interval.high = 1.0
    # The objective of the search is better low.
    text = render(contents(answer=answer))
    assert f"test/other, {told}" in text
    assert f"better {side} of 0" in text


def test_pruned_trials_are_hollow_and_one_seed_has_no_band() -> None:
    some = trials()
    some[3].state = Trial.PRUNED
    text = render(contents(trials=some, curves={"mae": [Curve([1, 2], [1, 2], [2, 1])]}))
    # Over both paths.
    assert text.count(' hollow"') == 2
    assert "One seed each" in text
    assert "hollow" not in render(contents()).partition("</style>")[2].lower()


def test_short_jobs_have_no_curve_over_time() -> None:
    short = {"mae": [Curve([1, 2, 3], [0.1, 0.2, 0.3], [3, 2, 1])]}
    assert render(contents(curves=short)).count("mean and 95% band over seeds") == 1


def test_trials_that_diverged_are_mapped() -> None:
    some = trials()
    for each in some[:5]:
        each.state = Trial.DIVERGED
    text = render(contents(trials=some))
    assert "Stability" in text
    assert "5 of 30" in text
    assert "Stability" not in render(contents())


def test_a_sweep_without_any_result_has_a_page() -> None:
    text = render(contents(trials=[], curves={}, answer=AnswerSweepResponse(text="Nothing.")))
    assert "Nothing." in text
    assert "What matters" not in text


def noisy(spec: JobSpec) -> float | jobs_pb2.Job.State.ValueType:
    loss = 10.0 if spec.loss.WhichOneof("kind") == "mae" else 20.0
    return loss + random.Random(spec.training.seed).random()


def test_report_of_a_real_sweep(
    talweg: Talweg,
    client: Client,
    train: Callable[[Value], Training],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(noisy)
    compared = {"path": "loss", "baseline": "mse", "final_seeds": 6, "margin": "1%"}
    ended = client.sweep(sweep(compare=compared)).wait(120)
    monkeypatch.chdir(tmp_path)
    done = talweg("report", ended.id)
    assert done.status == 0
    text = Path(f"sweep-{ended.id}.html").read_text("utf-8")
    assert ended.answer().text.replace("'", "&#x27;") in text
    assert re.search(r'badge better">better<', text)
    # The margin and the interval of one difference.
    assert text.count('class="interval"') == 1
    assert text.count('class="margin"') == 1
    assert talweg("report", ended.id, "-o", "-").out == text
    assert talweg("report", "nosuch").status == 3


def test_a_report_does_without_jobs_that_were_deleted(
    talweg: Talweg, client: Client, train: Callable[[Value], Training]
) -> None:
    train(noisy)
    ended = client.sweep(sweep()).wait(120)
    for job in ended.jobs():
        job.delete(force=True)
    done = talweg("report", ended.id, "-o", "-")
    assert done.status == 0
    assert "Trials" in done.out
