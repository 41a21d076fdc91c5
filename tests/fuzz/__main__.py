"""Tries many random inputs in all ways in which something comes in, and says what came of them.

    python -m tests.fuzz [--cases 20000] [--seed SEED] [--only PART]...

PART is one of `requests` (to every RPC, by every role), `specs` (wrong ones, to be refused),
`trainings` (valid ones, to their end), `files` (damaged ones, for every reader), `own-data` (jobs
on files that were taken) and `uris`. A part that fails does not keep the others from being tried.
The exit status is 1 if one has failed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import test_training, test_validation
from tests.fuzz.calls import test_rpcs
from tests.fuzz.files import test_files, test_own_data, test_uris
from tests.fuzz.seeds import SEED, new_seed

CASES = 20_000


def _requests(seed: int, cases: int, folder: Path) -> None:
    with test_rpcs.guarded_server(folder) as server:
        test_rpcs.run(server, seed, cases)


PARTS: dict[str, tuple[float, Callable[[int, int, Path], None]]] = {
    "requests": (0.4, _requests),
    "specs": (0.2, lambda seed, cases, _: test_validation.run(seed, cases)),
    "files": (0.15, lambda seed, cases, folder: test_files.run(folder, seed, cases)),
    "own-data": (
        0.1,
        lambda seed, cases, folder: test_own_data.run(folder, seed, cases),
    ),
    "uris": (0.05, lambda seed, cases, folder: test_uris.run(folder, seed, cases)),
    "trainings": (
        0.1,
        lambda seed, cases, folder: test_training.run(seed, cases, folder, processes=1),
    ),
}
"""The share of the cases that each part has, and what tries them."""


def main() -> int:
    """Try all parts; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=CASES, help=f"by default {CASES:,}")
    parser.add_argument("--seed", type=int, help=f"by default ${SEED}, or else a new one")
    parser.add_argument("--only", action="append", choices=list(PARTS), default=[])
    args = parser.parse_args()
    seed = new_seed() if args.seed is None else args.seed
    chosen = args.only or list(PARTS)
    whole = sum(PARTS[part][0] for part in chosen)
    failed = False
    for part in chosen:
        share, run = PARTS[part]
        cases = round(args.cases * share / whole)
        print(f"{part}: {cases:,} cases, {SEED}={seed}", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="talweg-fuzz-") as folder:
            try:
                run(seed, cases, Path(folder))
            except Exception as exc:
                failed = True
                print(f"{part} failed: {exc}", flush=True)
        print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
