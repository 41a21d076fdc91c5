"""The sweeps of client/examples/sweeps, run and written down.

    python -m tests.studies.sweeps                  # all; writes docs/studies.md and its pictures
    python -m tests.studies.sweeps vae_beta …       # some, printed only

Starts a stack of one worker. Every number of the page is of the run that wrote it.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.integration.stack import start_stack

from talweg.client import Client, SweepAnswer, SweepState
from talweg.client.sweeps.report import read
from talweg.reports import contents, figures
from talweg.v1.options_pb2 import Goal

_ROOT = Path(__file__).parents[2]
_SWEEPS = _ROOT / "client/examples/sweeps"
_DOCS = _ROOT / "docs"
_PICTURES = _DOCS / "studies"
_STYLE = """
text { fill: #1f2a37; font: 12px sans-serif; } .zero { stroke: #5b6878; stroke-dasharray: 4 3; }
.margin { fill: #2f5fb3; opacity: 0.13; } .interval { stroke: #0072b2; stroke-width: 2.5; }
.mean { fill: #0072b2; } svg { background: #ffffff; }
"""


def main(arguments: Sequence[str]) -> int:
    """Run the sweeps; return the exit status."""
    files = [
        path
        for path in sorted(_SWEEPS.glob("*.yaml"))
        # Studies have pages of their own.
        if path.stem in arguments or not (arguments or path.stem.startswith("study_"))
    ]
    failed = []
    sections = []
    with tempfile.TemporaryDirectory() as temporary:
        stack = start_stack(Path(temporary))
        try:
            with stack.client() as client:
                for path in files:
                    lines = list(_study(client, path, write=not arguments))
                    print("\n".join(lines), flush=True)
                    if not lines:
                        failed.append(path.stem)
                    sections.append("\n".join(lines))
        finally:
            stack.stop()
    if not arguments and not failed:
        page = _DOCS / "studies.md"
        text = page.read_text("utf-8")
        head = text.partition(_MARKER)[0]
        page.write_text(f"{head}{_MARKER}\n" + "\n".join(sections), encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


_MARKER = "<!-- The rest of this page is written by `python -m tests.studies.sweeps`. -->\n"


def _study(client: Client, path: Path, *, write: bool) -> Iterator[str]:
    begun = time.monotonic()
    sweep = client.sweep(path).wait()
    if sweep.state is not SweepState.SUCCEEDED:
        print(f"{path.stem}: {sweep.message.message}")
        return
    taken = time.monotonic() - begun
    answer = sweep.answer()
    assert answer.comparison is not None
    name = path.stem
    yield f"## {sweep.message.spec.display_name[:1].upper()}{sweep.message.spec.display_name[1:]}"
    yield ""
    message = sweep.message
    yield (
        f"[{name}.yaml](../client/examples/sweeps/{name}.yaml): {message.num_trials} trials, "
        f"{message.num_jobs} jobs, {taken:.0f} s on one worker."
    )
    yield ""
    yield from _table(answer)
    yield ""
    found = read(client, sweep)
    if write and (drawn := _differences(found)):
        _PICTURES.mkdir(parents=True, exist_ok=True)
        (_PICTURES / f"{name}.svg").write_text(drawn, encoding="utf-8")
        yield f"![Differences to the baseline with 95% intervals](studies/{name}.svg)"
        yield ""
    for remark in answer.remarks:
        yield f"- {remark}"
    diverged = sum(trial.state == "DIVERGED" for trial in sweep.trials())
    if diverged:
        yield f"- {diverged} trials diverged"
    yield ""


def _table(answer: SweepAnswer) -> Iterator[str]:
    comparison = answer.comparison
    assert comparison is not None
    assert comparison.answer is not None
    chosen = {trial.compared: trial for trial in answer.chosen}
    title = f"{comparison.metric}, mean ± sd"
    yield f"| value | chosen setting | {title} | 95% interval of the mean | verdict |"
    yield "| --- | --- | --- | --- | --- |"
    for group, found in zip(comparison.groups, comparison.answer.groups, strict=True):
        label = " ".join(group.labels)
        rest = [
            f"{path.rpartition('.')[2]}={value}"
            for path, value in list(chosen[label].setting.items())[1:]
        ]
        interval = found.interval
        ends = "–" if interval is None else f"{interval.low:.4g} to {interval.high:.4g}"
        verdict = "baseline" if found.difference is None else found.difference.text
        mean = "–" if found.mean is None else f"{found.mean:.4g} ± {found.sd or 0:.2g}"
        yield f"| {label} | {', '.join(rest)} | {mean} | {ends} | {verdict} |"


def _differences(found: contents.ReportContents) -> str:
    comparison = found.answer.comparison
    rows = [
        (" ".join(group.labels), each.difference.mean, each.difference.interval.low,
         each.difference.interval.high)
        for group, each in zip(comparison.groups, comparison.answer.groups, strict=True)
        if each.HasField("difference") and each.difference.HasField("interval")
    ]  # fmt: skip
    if not rows:
        return ""
    margin = comparison.answer.margin if comparison.answer.HasField("margin") else None
    is_high = comparison.goal == Goal.MAXIMIZE
    drawn = figures.differences(rows, margin, comparison.metric, is_high=is_high)
    begin = drawn.index(">") + 1
    head = drawn[: begin - 1].replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return f"{head}><style>{_STYLE}</style>{drawn[begin:]}\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
