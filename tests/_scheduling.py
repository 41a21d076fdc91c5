"""Which tests share a process, and which begin first, when pytest-xdist runs them."""

from functools import cached_property
from typing import Any

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

FIRST = ("tests/integration/", "tests/worker/tracking/")
"""Folders whose modules begin first, since what begins last must be short.

Each of their modules may go to another process, which then has a stack of its own: all of a folder
in one process would take longer than everything else.
"""
TOGETHER = ("tests/worker/execution/", "tests/client/", "tests/server/")
"""Folders whose tests share a server or a database: one process starts it, once."""


def scope_of(nodeid: str) -> str:
    """Return what a test stays together with: its folder, or else its module."""
    module = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if module.startswith(folder)), module)


def rank_of(scope: str) -> int:
    """Return when a scope begins: the lowest first."""
    if scope.startswith(FIRST):
        return 0
    return 1 + TOGETHER.index(scope) if scope in TOGETHER else 1 + len(TOGETHER)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Deal out the scopes of `scope_of`, in the order of `rank_of` and then as collected."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    # In place of the superclass's, which looks for each test in the list of all, and counts
    # after each test what is left of all that a process has ever had.
    def _assign_work_unit(self, node: Any) -> None:
        scope = min(self.workqueue, key=rank_of)
        tests = self.workqueue.pop(scope)
        mine = self.assigned_work[node]
        for each in [each for each, ended in mine.items() if all(ended.values())]:
            del mine[each]
        mine[scope] = tests
        node.send_runtest_some([self._places[test] for test, ended in tests.items() if not ended])

    @cached_property
    def _places(self) -> dict[str, int]:
        assert self.collection is not None
        return {test: place for place, test in enumerate(self.collection)}
