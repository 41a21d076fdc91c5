"""How well `talweg plan` predicts: seeds by simulation, seeds and times of the example sweeps.

    python -m tests.studies.planning                  # the simulation alone; a minute
    python -m tests.studies.planning run              # and the sweeps of client/examples/sweeps
    python -m tests.studies.planning run vae_beta …   # and some of them

A prediction of time is of the machine as it is during the pilot: on one that others use too,
ratios are of their load as well.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.integration.stack import start_stack

from talweg.client import Client, Sweep, SweepState
from talweg.client.sweeps._files import read_sweep
from talweg.client.sweeps.planning import PILOT_SEEDS, SweepPlan, pilot_of, plan_of
from talweg.spec.sweeps import Plan
from talweg.statistics.power import pairs_needed, sd_interval
from talweg.statistics.sign_flip import least_differences
from talweg.v1.sweeps_pb2 import SweepSpec

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]

_SWEEPS = Path(__file__).parents[2] / "client/examples/sweeps"
_PILOTS = 2_000
_ALPHA = 0.05
_COMPARISONS = (1, 3, 7)
# Of the margin; with them it takes about 10, 34 and 128 pairs, with one comparison.
_NOISE = (1.0, 2.0, 4.0)
_DIGITS = 3
_TOLERANCE = 0.2
_DRAWS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t with 3 degrees of freedom": lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3.0),
    "lognormal": lambda rng, shape: (
        (rng.lognormal(size=shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    ),
}


def main(arguments: Sequence[str]) -> int:
    """Print the tables; return the exit status."""
    print_simulation()
    if arguments[:1] == ["run"]:
        return _run(arguments[1:])
    return 0


def print_simulation() -> None:
    """Print how often the number of seeds by a pilot is enough for all comparisons."""
    print(f"\n{_PILOTS} pilots of {PILOT_SEEDS} seeds each; differences to one baseline\n")
    print("| values | comparisons | noise | it takes | number enough | high end enough | number |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for seed, (name, draw) in enumerate(_DRAWS.items()):
        for comparisons in _COMPARISONS:
            values = draw(np.random.default_rng(seed), (_PILOTS, comparisons + 1, PILOT_SEEDS))
            # Of differences, whose variance is twice that of a value.
            sds = (values[:, 1:] - values[:, :1]).std(axis=2, ddof=1) / np.sqrt(2)
            for noise in _NOISE:
                print(f"| {name} | {comparisons} | {noise:g} | {_row(sds * noise, noise)} |")


def _row(sds: NDArray[np.float64], noise: float) -> str:
    comparisons = sds.shape[1]
    takes = _needed(noise, comparisons)
    by_pilot = np.array([max(_needed(each, comparisons) for each in pilot) for pilot in sds])
    high = np.array(
        [
            max(_needed(sd_interval(each, PILOT_SEEDS)[1], comparisons) for each in pilot)
            for pilot in sds
        ]
    )
    middle = f"{np.quantile(by_pilot, 0.1):.0f} to {np.quantile(by_pilot, 0.9):.0f}"
    return f"{takes} | {np.mean(by_pilot >= takes):.0%} | {np.mean(high >= takes):.0%} | {middle}"


def _needed(sd: float, comparisons: int) -> int:
    # Pilots whose noise is the same to some digits need as many.
    return _rounded(float(f"{max(sd, 1e-3):.{_DIGITS}g}"), comparisons)


@cache
def _rounded(sd: float, comparisons: int) -> int:
    alpha = _ALPHA / comparisons
    found = pairs_needed(sd, difference=1.0, alpha=alpha, least=least_differences(alpha))
    return 100_001 if found is None else found


def _run(names: Sequence[str]) -> int:
    print("\nThe example sweeps, each planned by its pilot and then run on one worker\n")
    print(
        "| sweep | predicted | took | ratio | by pilot's pace | ratio | seeds by pilot | "
        "by the final seeds | within |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        stack = start_stack(Path(temporary))
        try:
            with stack.client() as client:
                for path in sorted(_SWEEPS.glob("*.yaml")):
                    # Without compared values there is nothing to plan.
                    if read_sweep(path).HasField("compare") and (not names or path.stem in names):
                        for ratio, line in _compared(client, path):
                            ratios.append(ratio)
                            print(line, flush=True)
        finally:
            stack.stop()
    close = sum(abs(each - 1) <= _TOLERANCE for each in ratios)
    print(f"\n{close} of {len(ratios)} times are within {_TOLERANCE:.0%}")
    return 0 if ratios else 1


def _compared(client: Client, path: Path) -> Iterator[tuple[float, str]]:
    """Plan a sweep, run it, and yield the ratio of its times with a row of the table."""
    spec = read_sweep(path)
    whole = client.sweep(spec, validate_only=True).spec
    # Each job is to be trained.
    whole.cache = SweepSpec.off
    pilot = client.sweep(pilot_of(whole)).wait()
    found = _planned(client, pilot, whole)
    jobs = Plan(whole).num_jobs
    pace = _seconds(pilot) / pilot.message.num_jobs * jobs
    sweep = client.sweep(whole).wait()
    if found is None or sweep.state is not SweepState.SUCCEEDED:
        print(f"| {path.stem} | has no result: {sweep.message.message} |")
        return
    took = _seconds(sweep)
    ratio = found.file_seconds / took
    final = _needed_by(sweep)
    high = found.seeds_high
    within = (
        "–"
        if final is None or found.seeds_low is None
        else "yes" if found.seeds_low <= final <= (high or 10**6) else "no"
    )  # fmt: skip
    seeds = f"{found.seeds} ({found.seeds_low} to {high}) | {final} | {within}"
    times = f"{found.file_seconds:.0f} s | {took:.0f} s | {ratio:.2f}"
    yield ratio, f"| {path.stem} | {times} | {pace:.0f} s | {pace / took:.2f} | {seeds} |"


def _planned(client: Client, pilot: Sweep, whole: SweepSpec) -> SweepPlan | None:
    comparison = pilot.answer().comparison
    if comparison is None or comparison.answer is None or not comparison.answer.baseline:
        return None
    jobs = {job.name: job for job in pilot.jobs()}
    searches = {each.label: each.num_trials for each in Plan(whole).searches}
    return plan_of(comparison, jobs, whole, searches, 1)


def _needed_by(sweep: Sweep) -> int | None:
    """Return how many seeds it takes by the noise of the final jobs."""
    comparison = sweep.answer().comparison
    assert comparison is not None
    assert comparison.answer is not None
    differences = [each.difference for each in comparison.answer.groups]
    needed = [max(each.needed or 0, each.least) for each in differences if each is not None]
    known = all(each is None or each.needed is not None for each in differences)
    return max(needed) if needed and known else None


def _seconds(sweep: Sweep) -> float:
    message = sweep.refresh().message
    return (message.end_time.ToMicroseconds() - message.create_time.ToMicroseconds()) / 1e6


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
