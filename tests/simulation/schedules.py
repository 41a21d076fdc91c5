"""What happens in one simulation: jobs, wishes of people, and faults, each at a time."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HORIZON_S = 16.0
"""Nothing is begun after that, and faults end."""

NUM_WORKERS = 2
METHODS = ("ClaimJobs", "ReportProgress", "FinishJob")
FATES = ("request lost", "answer lost", "request late", "answer late", "twice")


@dataclass(frozen=True)
class Step:
    """One thing that happens."""

    at: float
    """Seconds after the beginning."""
    kind: str
    """A method of `World`, by its name."""
    arguments: tuple[str | float, ...] = ()
    """What it is called with."""

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.kind}({', '.join(map(repr, self.arguments))})"


@dataclass(frozen=True)
class Schedule:
    """All that happens, and what the rest follows from."""

    seed: int
    """Decides how long messages take."""
    steps: Sequence[Step]
    """By time."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


Draw = Callable[[random.Random], tuple[str | float, ...]]


def make(seed: int) -> Schedule:
    """Draw a schedule."""
    rng = random.Random(seed)
    steps = []
    num_jobs = rng.choice((1, 1, 2, 2, 3))
    for job in range(num_jobs):
        begins = 0.0 if job == 0 else rng.uniform(0, 6)
        size = (job, rng.randint(2, 6), rng.choice((1, 2, 3)), rng.uniform(0.2, 1.2))
        steps.append(Step(_round(begins), "submit", size))
        for _ in range(rng.choice((0, 1, 1, 2))):
            at = begins + 0.1 + rng.uniform(0, HORIZON_S - begins - 0.1)
            steps.append(Step(_round(at), "watch", (job,)))
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        kind = rng.choice(list(_WISHES))
        steps.append(_draw(rng, kind, _WISHES[kind], rng.randrange(num_jobs)))
    # Mostly few, so that what goes wrong is found beside what goes well.
    kinds = rng.sample(list(_FAULTS), rng.choice((1, 2, 3, 5)))
    kinds += ["message"] * rng.choice((0, len(kinds)))
    for _ in range(rng.choice((1, 2, 3, 4, 6, 10))):
        kind = rng.choice(kinds)
        steps.append(_draw(rng, kind, _FAULTS[kind]))
    return Schedule(seed, sorted(steps, key=lambda step: step.at))


def _draw(rng: random.Random, kind: str, draw: Draw, *first: float) -> Step:
    # Mostly while jobs run.
    latest = rng.choice((3.0, 6.0, 10.0, HORIZON_S))
    return Step(_round(rng.uniform(0.0, latest)), kind, (*first, *draw(rng)))


def _round(value: float) -> float:
    return round(value, 3)


def _worker(rng: random.Random) -> int:
    return rng.randrange(NUM_WORKERS)


def _message(rng: random.Random) -> tuple[str | float, ...]:
    late = _round(rng.choice((rng.uniform(0.1, 2), rng.uniform(2, 12))))
    return _worker(rng), rng.choice(METHODS), rng.choice(FATES), late


def _seconds(shortest: float, longest: float) -> Draw:
    return lambda rng: (_worker(rng), _round(rng.uniform(shortest, longest)))


_WISHES: dict[str, Draw] = {
    "cancel": lambda rng: (_round(rng.choice((0.0, rng.uniform(0, 8)))), rng.random() < 0.2),
    "pause": lambda rng: (),
    "resume": lambda rng: (),
}
_FAULTS: dict[str, Draw] = {
    "message": _message,
    "cut_off": _seconds(0.5, 9),
    "crash": lambda rng: (*_seconds(0.1, 8)(rng), rng.random() < 0.3),
    "freeze": _seconds(0.5, 14),
    "suspend": _seconds(0.5, 14),
    "shut_down": _seconds(0.1, 5),
    "turn_worker_clock": lambda rng: (_worker(rng), _round(rng.uniform(-300, 300))),
    "stop_server": lambda rng: (_round(rng.uniform(0.1, 8)),),
    "crash_server": lambda rng: (rng.randint(0, 12), _round(rng.uniform(0.1, 5))),
    "conflict": lambda rng: (rng.randint(0, 6), rng.randint(1, 6)),
    "turn_server_clock": lambda rng: (
        _round(rng.choice((rng.uniform(-8, 8), rng.uniform(-300, 300)))),
    ),
    "lose_wake_ups": lambda rng: (rng.randint(1, 3),),
    "repeat_wake_ups": lambda rng: (rng.randint(1, 3),),
    "lose_events": lambda rng: (rng.randint(1, 4),),
    "repeat_events": lambda rng: (rng.randint(1, 4),),
    "delay_events": lambda rng: (rng.randint(1, 3), _round(rng.uniform(0.1, 4))),
}
