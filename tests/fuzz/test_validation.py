"""Whatever is sent as a spec is either taken or refused with violations, and soon."""

import time
from collections.abc import Iterator

import pytest
from google.protobuf.message import DecodeError
from tests.fuzz.mutations import wrong_job_file, wrong_message
from tests.fuzz.seeds import SEED, chance, fixed_seed, new_seed, num_cases
from tests.fuzz.specs import random_spec

from talweg.server.calls.statuses import to_status
from talweg.server.services.submission.violations import refused
from talweg.spec import (
    MAX_SPEC_BYTES,
    SpecError,
    complete,
    display_name,
    flatten,
    parse,
    primary_metric,
    to_yaml,
)
from talweg.v1.spec_pb2 import JobSpec

LIMIT_S = 20.0
"""Seconds of CPU time that reading and checking one spec may take."""


def check(spec: JobSpec) -> bool:
    """Check a spec as the server does, and tell whether it was taken."""
    if spec.ByteSize() > MAX_SPEC_BYTES:
        return False
    filled, violations, _ = complete(spec)
    if violations:
        assert all(violation.description for violation in violations)
        to_status(refused(violations)).SerializeToString()
        return False
    # What is asked of each spec that is in the record.
    assert complete(filled)[1] == []
    assert parse(to_yaml(filled)) == filled
    display_name(filled)
    flatten(filled)
    primary_metric(filled)
    return True


def is_taken(wrong: str | bytes) -> bool:
    """Read a job file or a message as it comes in, check it, and tell whether it was taken."""
    if isinstance(wrong, bytes):
        try:
            return check(JobSpec.FromString(wrong))
        except DecodeError:
            return False
    try:
        spec = parse(wrong)
    except SpecError as exc:
        return not explained(exc)
    return check(spec)


def explained(error: SpecError) -> bool:
    assert error.violations
    assert str(error).encode()
    return True


def wrong_specs(seed: int, cases: int) -> Iterator[str | bytes]:
    spec = JobSpec()
    for case in range(cases):
        rng = chance(seed, case)
        # Drawing a valid spec takes longer than checking a wrong one: each is made wrong often.
        if case % 10 == 0:
            spec = random_spec(rng)
        yield wrong_job_file(spec, rng) if case % 2 else wrong_message(spec, rng)


def run(seed: int, cases: int) -> None:
    taken, slowest = 0, 0.0
    for case, wrong in enumerate(wrong_specs(seed, cases)):
        started = time.process_time()
        try:
            taken += is_taken(wrong)
        except Exception as exc:
            raise AssertionError(f"{SEED}={seed}, case {case}: {wrong!r}") from exc
        seconds = time.process_time() - started
        assert seconds < LIMIT_S, f"{SEED}={seed}, case {case} took {seconds:.1f} s: {wrong!r}"
        slowest = max(slowest, seconds)
    print(f"{cases} specs, {taken} taken, the slowest in {slowest:.2f} s")
    # Mutations that nothing survives would test the reader alone.
    assert 0.02 * cases < taken < 0.9 * cases


def test_some_wrong_specs_are_refused_with_violations() -> None:
    run(fixed_seed(), 200)


@pytest.mark.faults
def test_thousands_of_wrong_specs_are_refused_with_violations() -> None:
    seed = new_seed()
    print(f"{SEED}={seed}")
    run(seed, num_cases(10_000))
