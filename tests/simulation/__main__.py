"""Run schedules from a seed on, and say what they show: `python -m tests.simulation`."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager

from tests.simulation.simulation import Failure, Simulator, Tally, shrink

Results = Callable[[Sequence[range]], Iterable[tuple[Tally, Failure | None]]]

_PART = 200
_PAUSE_S = 60.0


def main() -> int:
    """Return 1 where a schedule shows a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000, help="how many; default 1000")
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="of the first schedule, the next have the next; default 1",
    )
    parser.add_argument("--processes", type=int, default=1, help="at once; default 1")
    given = parser.parse_args()
    begun, told = time.monotonic(), time.monotonic()
    total = Tally()
    last = given.seed + given.schedules
    parts = [range(first, min(first + _PART, last)) for first in range(given.seed, last, _PART)]
    with _mapping(given.processes) as results:
        for tally, failure in results(parts):
            total.add(tally)
            if failure is not None:
                print(failure, file=sys.stderr)
                print(
                    f"again: python -m tests.simulation --schedules 1 --seed "
                    f"{failure.schedule.seed}",
                    file=sys.stderr,
                )
                return 1
            if time.monotonic() > told + _PAUSE_S:
                told = time.monotonic()
                print(f"{told - begun:,.0f} s: {total}", flush=True)
    seconds = time.monotonic() - begun
    print(
        f"seeds {given.seed} to {last - 1}: {total}. All invariants held. "
        f"{seconds:,.0f} s, {total.schedules / seconds:,.0f} schedules a second"
    )
    return 0


def run(seeds: range) -> tuple[Tally, Failure | None]:
    """Run the schedules of some seeds, and make the first smaller that shows a fault."""
    with Simulator() as simulator:
        failure = simulator.run_seeds(seeds)
        tally = simulator.tally
        if failure is not None:
            simulator.tally = Tally()
            failure = shrink(failure, simulator.run)
    return tally, failure


@contextmanager
def _mapping(processes: int) -> Iterator[Results]:
    if processes == 1:
        yield lambda parts: map(run, parts)
        return
    pool = ProcessPoolExecutor(processes)
    try:
        yield lambda parts: (
            each.result() for each in as_completed([pool.submit(run, part) for part in parts])
        )
    finally:
        # After a failure nothing else is begun.
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    sys.exit(main())
