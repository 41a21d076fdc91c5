"""Which tests share a process, and which begin first."""

from tests._scheduling import FIRST, TOGETHER, rank_of, scope_of
from tests.quick import ROOT


def test_tests_that_share_a_stack_stay_together_and_others_by_module() -> None:
    assert scope_of("tests/server/test_leases.py::test_a[b::c]") == "tests/server/"
    assert scope_of("tests/server/ingest/test_tables.py::test_b") == "tests/server/"
    faults = "tests/integration/test_faults.py"
    assert scope_of(f"{faults}::test_a[b::c]") == faults
    module = "tests/worker/losses/test_values.py"
    assert scope_of(f"{module}::test_a") == scope_of(f"{module}::Some::test_b") == module


def test_long_folders_begin_first_and_all_exist() -> None:
    faults, values = "tests/integration/test_faults.py", "tests/worker/losses/test_values.py"
    scopes = [values, *reversed(TOGETHER), faults]
    assert sorted(scopes, key=rank_of) == [faults, *TOGETHER, values]
    for folder in (*FIRST, *TOGETHER):
        assert list((ROOT / folder).glob("test_*.py")), folder
