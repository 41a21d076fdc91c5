"""Whatever spec passes validation ends by itself or by the user's fault, never the service's."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fuzz.seeds import SEED, fixed_seed, new_seed, num_cases
from tests.fuzz.training import LIMIT_S, End

_NUM_PROCESSES = 2
# A case's limit is of CPU time, on a machine that may be busy; beyond this it hangs.
_SILENCE_S = 40 * LIMIT_S
# The user's, or one of the training itself.
_ENDS = {
    ("SUCCEEDED", ""),
    ("DIVERGED", "NOT_FINITE"),
    ("FAILED", "USER_SPEC"),
    ("FAILED", "TIME_LIMIT"),
    ("FAILED", "OUT_OF_MEMORY"),
}


class Training:
    """Random specs in a process of its own, which one that hangs or crashes does not outlive."""

    def __init__(self, seed: int, cases: range, log: Path) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.training", str(cases.start),
             "--to", str(cases.stop), "--step", str(cases.step), "--seed", str(seed)],
            stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        self.ends: list[End] = []
        self.under_way: int | None = None
        """The case that has begun and not ended."""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the end, which a case that hangs brings about."""
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        hung = threading.Timer(_SILENCE_S, self._process.kill)
        hung.start()
        for line in self._process.stdout:
            hung.cancel()
            content = json.loads(line)
            self.under_way = content.get("begins")
            if self.under_way is None:
                self.ends.append(End(**content))
            hung = threading.Timer(_SILENCE_S, self._process.kill)
            hung.start()
        hung.cancel()


def run(seed: int, cases: int, folder: Path, *, processes: int) -> None:
    trainings = [
        Training(seed, range(first, cases, processes), folder / f"training-{first}.log")
        for first in range(processes)
    ]
    for training in trainings:
        training.wait()
    ends = [end for training in trainings for end in training.ends]
    numbers = Counter(f"{end.state} {end.cause}".strip() for end in ends)
    seconds = sum(end.seconds for end in ends)
    print(f"{len(ends)} specs in {seconds:.0f} s of CPU time: {dict(numbers)}")
    cut = [training.under_way for training in trainings if training.under_way is not None]
    assert not cut, f"{described(seed, cut)}\nhung or ended the process; see {folder}"
    wrong = [end for end in ends if (end.state, end.cause) not in _ENDS]
    assert not wrong, "\n".join(
        [described(seed, [end.case for end in wrong])]
        + [f"case {end.case}: {end.state} {end.cause} {end.message}" for end in wrong]
        + [wrong[0].traceback]
    )
    assert len(ends) == cases
    # Specs at their bounds may end in any way; most of the others train.
    assert numbers["SUCCEEDED"] > 0.5 * cases


def described(seed: int, cases: Sequence[int]) -> str:
    """Return the first of some cases as a job file, and how to train it alone."""
    command = [sys.executable, "-m", "tests.fuzz.training", str(cases[0]), "--seed", str(seed)]
    shown = subprocess.run([*command, "--show"], capture_output=True, text=True, check=True)
    return f"python {' '.join(command[1:])}  # {SEED}={seed}\n{shown.stdout}"


@pytest.mark.faults
def test_some_random_specs_end_by_no_fault_of_the_service(tmp_path: Path) -> None:
    run(fixed_seed(), 30, tmp_path, processes=1)


@pytest.mark.faults
def test_thousands_of_random_specs_end_by_no_fault_of_the_service(tmp_path: Path) -> None:
    seed = new_seed()
    print(f"{SEED}={seed}")
    run(seed, num_cases(3_300), tmp_path, processes=_NUM_PROCESSES)
