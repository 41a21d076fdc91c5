"""Which tests `make quick` chooses for a change."""

from tests.quick import ROOT, distances, module_of, read_imports

IMPORTS = {
    "worker/talweg/worker/losses/base.py": set(),
    "worker/talweg/worker/training/loop.py": {"talweg.worker.losses.base"},
    "tests/worker/conftest.py": {"talweg.worker.training.loop"},
    "tests/worker/test_loop.py": {"talweg.worker.training.loop", "pytest"},
    "tests/worker/test_base.py": {"talweg.worker.losses.base"},
    "tests/server/test_api.py": {"talweg.server.serving"},
    "server/talweg/server/serving.py": set(),
}


def test_the_nearest_tests_come_first_and_others_not_at_all() -> None:
    assert distances(["worker/talweg/worker/losses/base.py"], IMPORTS) == {
        "tests/worker/test_base.py": 1,
        "tests/worker/test_loop.py": 2,
    }
    assert distances(["server/talweg/server/serving.py"], IMPORTS) == {
        "tests/server/test_api.py": 1
    }
    assert distances(["tests/server/test_api.py"], IMPORTS) == {"tests/server/test_api.py": 0}
    assert distances(["LICENSE"], IMPORTS) == {}


def test_a_conftest_touches_the_tests_below_it() -> None:
    assert distances(["tests/worker/conftest.py"], IMPORTS) == {
        "tests/worker/test_base.py": 1,
        "tests/worker/test_loop.py": 1,
    }


def test_in_this_repository_a_loss_is_found_by_its_tests() -> None:
    imports = read_imports()
    assert module_of(ROOT / "worker/talweg/worker/losses/base.py") == "talweg.worker.losses.base"
    near = distances(["worker/talweg/worker/losses/functional/regions.py"], imports)
    assert min(near, key=lambda path: (near[path], path)).startswith("tests/worker/losses/")
    assert not any(path.startswith("tests/client/") and near[path] < 4 for path in near)
    assert near["tests/worker/losses/functional/test_regions.py"] == 1
