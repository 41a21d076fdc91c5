"""The page of a report: one HTML file without scripts, which opens offline."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from talweg.reports import figures
from talweg.reports.contents import ReportContents
from talweg.reports.importance import MIN_TRIALS, importances
from talweg.spec.sweeps import setting_text
from talweg.spec.sweeps.space import plain
from talweg.v1.answers_pb2 import Answer
from talweg.v1.options_pb2 import Goal
from talweg.v1.sweeps_pb2 import Sweep, Trial

_MOST_TRIALS = 100
_MOST_SCATTERS = 4
_LEAST_SECONDS = 5.0
_VERDICTS = {
    Answer.EQUIVALENT: "equivalent",
    Answer.BETTER: "better",
    Answer.WORSE: "worse",
    Answer.NOT_DISTINGUISHABLE: "not distinguishable",
    Answer.TOO_FEW: "too few seeds",
    Answer.UNDECIDED: "not decided",
}


def render(contents: ReportContents) -> str:
    """Return the page.

    Args:
        contents: What it shows.
    """
    style = files("talweg.reports").joinpath("style.css").read_text("utf-8")
    body = "\n".join(part for part in _sections(contents) if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(contents.title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _sections(contents: ReportContents) -> Iterator[str]:
    yield _head(contents)
    yield _verdict(contents)
    yield _compared(contents)
    yield _convergence(contents)
    yield _importance(contents)
    yield _stability(contents)
    yield _trials(contents)
    if contents.sweep_file:
        yield _section("The sweep", f"<pre>{escape(contents.sweep_file)}</pre>")


def _section(title: str, content: str, note: str = "") -> str:
    told = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{told}{content}</section>"


def _head(contents: ReportContents) -> str:
    sweep = contents.sweep
    state = Sweep.State.Name(sweep.state)
    begun = sweep.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M UTC")
    jobs = sum(each.count for each in sweep.jobs)
    reused = f", {sweep.num_reused:,} taken over" if sweep.num_reused else ""
    if sweep.num_continued:
        reused += f", {sweep.num_continued:,} went on from shorter ones"
    facts = (
        f"{escape(sweep.name)} · {state} · created {begun} · {sweep.num_trials:,} trials · "
        f"{jobs:,} jobs{reused}"
    )
    return f"<header><h1>{escape(contents.title)}</h1><p>{facts}</p></header>"


def _verdict(contents: ReportContents) -> str:
    answer = contents.answer
    provisional = '<p class="warning">The sweep goes on: this may change.</p>'
    remarks = [*answer.remarks]
    if answer.HasField("comparison"):
        remarks += answer.comparison.answer.remarks
    items = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    return (
        f'<section class="verdict">{provisional if answer.is_provisional else ""}'
        f"<p>{escape(answer.text)}</p>{f'<ul>{items}</ul>' if items else ''}</section>"
    )


def _compared(contents: ReportContents) -> str:
    if not contents.answer.HasField("comparison"):
        return ""
    comparison = contents.answer.comparison
    answer = comparison.answer
    # It may be of another metric than the objective.
    is_high = comparison.goal == Goal.MAXIMIZE
    chosen = {trial.compared: trial for trial in contents.answer.chosen}
    head = ("value", "setting", "n", "mean", "95% interval", "difference", "verdict")
    rows, drawn = [], []
    for group, found in zip(comparison.groups, answer.groups, strict=True):
        label = " ".join(group.labels)
        difference = found.difference if found.HasField("difference") else None
        rows.append(
            (
                escape(label),
                escape(_rest(chosen[label], contents)) if label in chosen else "",
                f"{found.n}",
                _number(found.mean) if found.HasField("mean") else "–",
                _interval(found.interval) if found.HasField("interval") else "–",
                _difference(difference) if difference is not None else "baseline",
                _badge(difference) if difference is not None else "",
            )
        )
        if difference is not None and difference.HasField("interval"):
            interval = difference.interval
            drawn.append((label, difference.mean, interval.low, interval.high))
    figure = ""
    if drawn:
        margin = answer.margin if answer.HasField("margin") else None
        drawing = figures.differences(drawn, margin, comparison.metric, is_high=is_high)
        figure = f"<figure>{drawing}</figure>"
    note = f"{escape(comparison.metric)}, {'higher' if is_high else 'lower'} is better"
    if answer.baseline:
        note += f"; differences are to {escape(' '.join(answer.baseline))}, paired by seed"
    return _section("Compared values", _table(head, rows) + figure, note)


def _rest(trial: Trial, contents: ReportContents) -> str:
    """Return a chosen setting without the compared value, which stands beside it."""
    path = contents.sweep.spec.compare.path
    return setting_text(
        (each.path, plain(each.value)) for each in trial.setting if each.path != path
    )


def _difference(difference: Answer.Difference) -> str:
    if not difference.HasField("mean"):
        return "–"
    text = f"{difference.mean:+.4g}"
    if difference.HasField("interval"):
        text += f"<br><small>{_interval(difference.interval, sign='+')}</small>"
    return text


def _badge(difference: Answer.Difference) -> str:
    kind = _VERDICTS.get(difference.verdict, "")
    if not kind:
        return ""
    adjusted = difference.HasField("adjusted_p") and difference.verdict != Answer.EQUIVALENT
    p = f"<br><small>p {difference.adjusted_p:.2g}</small>" if adjusted else ""
    return f'<span class="badge {kind.split()[0]}">{kind}</span>{p}'


def _convergence(contents: ReportContents) -> str:
    metric = contents.sweep.spec.objective.metric
    colours = _colours(contents)
    drawn = [figures.convergence(contents.curves, metric, colours, by_time=False)]
    # Reports come about once a second: over shorter times there is no curve.
    ends = [
        curve.seconds[-1] for each in contents.curves.values() for curve in each if curve.seconds
    ]
    if min(ends, default=0.0) > _LEAST_SECONDS:
        drawn.append(figures.convergence(contents.curves, metric, colours, by_time=True))
    content = "".join(f"<figure>{each}</figure>" for each in drawn if each)
    return _section("Convergence", content, _of_bands(contents)) if content else ""


def _of_bands(contents: ReportContents) -> str:
    """Say what the bands are."""
    if all(len(each) < 2 for each in contents.curves.values()):
        return "One seed each, so that there are no bands."
    note = (
        "Mean over seeds, as far as all seeds go; the band is the 95% interval of the mean at "
        "each place by itself. Overlapping bands are no verdict: differences are paired by seed."
    )
    if any(path.startswith("split.") for path in contents.sweep.spec.seeds.vary):
        note += " The splits overlap, so that the bands are too narrow."
    return note


def _colours(contents: ReportContents) -> figures.Palette:
    labels = [*contents.curves, *(trial.compared for trial in contents.trials)]
    return figures.palette(list(dict.fromkeys(labels)))


def _importance(contents: ReportContents) -> str:
    shares, colours = importances(contents.trials, contents.is_high), _colours(contents)
    content = f"<figure>{figures.bars(shares)}</figure>" if shares else ""
    metric = contents.sweep.spec.objective.metric
    paths = [each.paths[0] for each in shares] or list(
        dict.fromkeys(each.path for trial in contents.trials for each in trial.setting)
    )
    drawn = 0
    for path in paths:
        groups = _points(contents.trials, path)
        if drawn < _MOST_SCATTERS and sum(map(len, groups.values())) > 2:
            content += f"<figure>{figures.scatter(groups, path, metric, colours)}</figure>"
            drawn += 1
    if not content:
        return ""
    note = (
        "Share of the variance of ranks between trials that a path explains by itself (omega "
        "squared); what paths do together is not shown, and a path that few trials have is "
        "explained among these alone. Pruned trials rank behind those that ran to their end, and "
        "diverged ones last."
        if shares
        else f"Shares of variance are shown from {MIN_TRIALS} trials on."
    )
    if 'hollow"' in content:
        note += " Hollow dots are trials that were stopped early."
    return _section("What matters", content, note)


def _points(trials: Sequence[Trial], path: str) -> dict[str, list[figures.Dot]]:
    """Return numbers at a path and values of the objective, by compared value."""
    groups: dict[str, list[figures.Dot]] = {}
    for trial in sorted(trials, key=lambda each: each.compared):
        for setting in trial.setting:
            value = plain(setting.value)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if setting.path == path and _has_value(trial):
                dot = (float(value), trial.value, trial.state == Trial.PRUNED)
                groups.setdefault(trial.compared, []).append(dot)
    places = {place for group in groups.values() for place, _, _ in group}
    return groups if len(places) > 1 else {}


def _has_value(trial: Trial) -> bool:
    return trial.HasField("value") and math.isfinite(trial.value)


def _stability(contents: ReportContents) -> str:
    """Show how often trials diverged, by compared value and learning rate."""
    if not any(trial.state == Trial.DIVERGED for trial in contents.trials):
        return ""
    cells: dict[tuple[str, str], list[bool]] = {}
    for trial in contents.trials:
        if trial.state != Trial.RUNNING:
            key = (trial.compared or "all", _decade(trial))
            cells.setdefault(key, []).append(trial.state == Trial.DIVERGED)
    columns = sorted({column for _, column in cells}, key=_decade_order)
    rows = []
    for row in sorted({row for row, _ in cells}):
        texts = [escape(row)]
        for column in columns:
            found = cells.get((row, column), [])
            if found:
                share = sum(found) / len(found)
                texts.append(
                    f'<span class="heat" style="--share:{share:.2f}">{sum(found)} of '
                    f"{len(found)}</span>"
                )
            else:
                texts.append("–")
        rows.append(tuple(texts))
    note = "Trials that diverged, of those that ended."
    return _section("Stability", _table(("value", *map(escape, columns)), rows), note)


def _decade(trial: Trial) -> str:
    for setting in trial.setting:
        if setting.path.endswith("learning_rate") and setting.value.HasField("number_value"):
            value = setting.value.number_value
            if value > 0:
                low = math.floor(math.log10(value) + 1e-9)
                return f"rate 1e{low} to 1e{low + 1}"
    return "all"


def _decade_order(text: str) -> int:
    return int(text.split()[1][2:]) if text.startswith("rate") else 10**6


def _trials(contents: ReportContents) -> str:
    metric = contents.sweep.spec.objective.metric
    rows = [
        (
            f"{trial.number}",
            escape(trial.label),
            _number(trial.value) if trial.HasField("value") else "–",
            _number(trial.sd) if trial.HasField("sd") else "–",
            f"{trial.count}",
            Trial.State.Name(trial.state).lower(),
        )
        for trial in contents.trials[:_MOST_TRIALS]
    ]
    left = len(contents.trials) - len(rows)
    note = f"The best first; {left:,} more are left out." if left > 0 else "The best first."
    head = ("trial", "setting", escape(metric), "sd", "seeds", "state")
    return _section("Trials", _table(head, rows), note)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def _number(value: float) -> str:
    return f"{value:.4g}"


def _interval(interval: Answer.Interval, sign: str = "") -> str:
    return f"{interval.low:{sign}.4g} to {interval.high:{sign}.4g}"
