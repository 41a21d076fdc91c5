"""The protocol of leases, claims, reports and endings under faults, in virtual time."""

import time
from collections.abc import Iterator

import pytest
from tests.fuzz.seeds import fixed_seed, new_seed
from tests.simulation.planted import PLANTED
from tests.simulation.schedules import make
from tests.simulation.simulation import Simulator, shrink

_NUM_QUICK = 80
_MINUTES = 5
_MOST_SEEDS = 300


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


def test_schedules_of_faults_break_no_invariant(simulator: Simulator) -> None:
    first = fixed_seed() * 10_000
    failure = simulator.run_seeds(range(first, first + _NUM_QUICK))
    assert failure is None, str(shrink(failure, simulator.run))


def test_a_seed_reproduces(simulator: Simulator) -> None:
    runs = []
    for _ in range(2):
        assert simulator.run(make(7)) is None
        runs.append(list(simulator.trace))
    assert runs[0] == runs[1]
    assert len(runs[0]) > 10


def test_a_planted_fault_is_found_and_its_schedule_made_small(simulator: Simulator) -> None:
    _find("NoLeaseCheck", simulator)


@pytest.mark.faults
@pytest.mark.parametrize("name", PLANTED)
def test_every_planted_fault_is_found(name: str, simulator: Simulator) -> None:
    _find(name, simulator)


def _find(name: str, without_fault: Simulator) -> None:
    with Simulator(PLANTED[name]) as simulator:
        failure = simulator.run_seeds(range(_MOST_SEEDS))
        assert failure is not None, f"{name} is not found by {_MOST_SEEDS} seeds"
        smallest = shrink(failure, simulator.run)
        # It shows the same each time, and without the fault it shows nothing.
        assert simulator.run(smallest.schedule) == smallest
    assert len(smallest.schedule.steps) <= 5, str(smallest)
    assert without_fault.run(smallest.schedule) is None


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_minutes_of_schedules_break_no_invariant(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = new_seed()
    until = time.monotonic() + 60 * _MINUTES
    while time.monotonic() < until:
        failure = simulator.run_seeds(range(seed, seed + 100))
        assert failure is None, str(shrink(failure, simulator.run))
        seed += 100
    with capsys.disabled():
        print(f"\nsimulated: {simulator.tally}")
