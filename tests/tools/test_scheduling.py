"""Which tests share a process, and which begin first."""

from tests._scheduling import TOGETHER, rank_of, scope_of
from tests.quick import ROOT


def test_tests_that_share_a_stack_stay_together_and_others_by_module() -> None:
    assert scope_of("tests/integration/test_faults.py::test_a[b::c]") == "tests/integration/"
    assert scope_of("tests/integration/test_results.py::test_b") == "tests/integration/"
    assert scope_of("tests/client/test_status.py::test_c") == "tests/worker/tracking/"
    module = "tests/worker/losses/test_values.py"
    assert scope_of(f"{module}::test_a") == scope_of(f"{module}::Some::test_b") == module


def test_long_folders_begin_first_and_all_exist() -> None:
    scopes = ["tests/worker/losses/test_values.py", *reversed(TOGETHER)]
    assert sorted(scopes, key=rank_of) == [*TOGETHER, "tests/worker/losses/test_values.py"]
    for folder in TOGETHER:
        assert list((ROOT / folder).glob("test_*.py")), folder
