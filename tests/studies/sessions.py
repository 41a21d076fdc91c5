"""Sessions of an agent, by simulation: how often noise is kept, and how often a true gain.

    python -m tests.studies.sessions [SESSIONS]

An agent proposes 100 settings one by one, each with 24 seeds, and goes on from what was kept. Each
is decided by the function that the service uses. Beside it: keep what is lower than the best so
far, by one run each. Nothing is trained.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from talweg.server.services.sessions.pairing import difference_of
from talweg.statistics.sessions import Decision, Proposal, SessionQuestion, decide

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

# Noise between seeds, with mean 0; sd 1 but for Student's t, whose sd is √3. nan diverges.
NOISE: Mapping[str, Draw] = {
    "normal": lambda generator, num: generator.normal(0, 1, num),
    "t, 3 df": lambda generator, num: generator.standard_t(3, num),
    "lognormal": lambda generator, num: (
        (generator.lognormal(0, 1, num) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    ),
    "normal, a fifth diverges": lambda generator, num: np.where(
        generator.random(num) < 0.2, np.nan, generator.normal(0, 1, num)
    ),
}
ERROR = 0.05
PROPOSALS = 100
SEEDS = 24
GAIN = 1.0
"""Of every tenth proposal of the second set, in sd between seeds."""
_EVERY = 10


@dataclass(frozen=True)
class Kept:
    """What a session has kept."""

    gains: int
    """Proposals that are better than what they were compared with."""
    nothing: int
    """Proposals that are not."""


def differences(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> list[float]:
    """Return the differences of pairs as the service has them."""
    return [
        difference_of(*(None if np.isnan(each) else float(each) for each in pair), is_high=False)
        for pair in zip(ours, theirs, strict=True)
    ]


def by_budget(
    draw: Draw, generator: np.random.Generator, gain: float, *, is_planned: bool
) -> Kept:
    """Return what a session keeps that decides as the service does."""
    best_mean, best = 0.0, draw(generator, SEEDS)
    noise = [draw(generator, SEEDS) for _ in range(PROPOSALS)]
    gain_of = [gain * (number % _EVERY == 0) for number in range(1, PROPOSALS + 1)]
    before: list[Proposal] = []
    gains = nothing = 0
    while True:
        # All that come before the next one that is kept are compared with the same.
        values = [
            best_mean - own + each
            for own, each in zip(gain_of[len(before) :], noise[len(before) :], strict=True)
        ]
        new = [
            Proposal(differences(each, best), is_planned=is_planned, is_complete=True)
            for each in values
        ]
        found = decide(SessionQuestion(ERROR, [*before, *new])).proposals
        kept = next(
            (at for at in range(len(before), PROPOSALS) if found[at].decision is Decision.KEEP),
            None,
        )
        if kept is None:
            return Kept(gains, nothing)
        own = gain_of[kept]
        gains += own > 0
        nothing += own == 0
        best_mean, best = best_mean - own, values[kept - len(before)]
        # As the record has it: looks that have been taken are not taken again.
        before = [
            Proposal((), each.looks, is_planned=is_planned, is_complete=True)
            for each in found[: kept + 1]
        ]


def by_one_run(draw: Draw, generator: np.random.Generator, gain: float) -> Kept:
    """Return what a session keeps by the rule: lower than the best so far, one run each."""
    best_mean, best = 0.0, float(np.nan_to_num(draw(generator, 1)[0], nan=np.inf))
    gains = nothing = 0
    for number in range(1, PROPOSALS + 1):
        mean = best_mean - gain * (number % _EVERY == 0)
        value = mean + float(draw(generator, 1)[0])
        if value < best:
            gains += mean < best_mean
            nothing += mean >= best_mean
            best_mean, best = mean, value
    return Kept(gains, nothing)


def lower_bound(count: int, sessions: int) -> float:
    """Return the lower end of a 95% interval of a share (Clopper and Pearson)."""
    return float(stats.beta.ppf(0.025, count, sessions - count + 1)) if count else 0.0


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sessions", type=int, nargs="?", default=2_000)
    sessions = parser.parse_args().sessions
    rules = {
        "budget, sweeps": lambda d, g, gain: by_budget(d, g, gain, is_planned=True),
        "budget, single jobs": lambda d, g, gain: by_budget(d, g, gain, is_planned=False),
        "lower than the best": by_one_run,
    }
    num_gains = PROPOSALS // _EVERY
    print(f"\n{sessions:,} sessions of {PROPOSALS} proposals each, {SEEDS} seeds a proposal\n")
    print(
        "| noise | rule | sessions that keep any of 100 nulls | at least | sessions that keep a "
        f"null beside {num_gains} gains of {GAIN:g} sd | at least | sessions that keep a gain | "
        f"gains kept of {num_gains} |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for noise, draw in NOISE.items():
        for seed, (rule, session) in enumerate(rules.items()):
            cells = [noise, rule]
            for gain in (0.0, GAIN):
                generator = np.random.default_rng([seed, int(gain)])
                kept = [session(draw, generator, gain) for _ in range(sessions)]
                wrong = sum(each.nothing > 0 for each in kept)
                cells += [f"{wrong / sessions:.1%}", f"{lower_bound(wrong, sessions):.1%}"]
            cells.append(f"{np.mean([each.gains > 0 for each in kept]):.1%}")
            cells.append(f"{np.mean([each.gains for each in kept]):.1f}")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
