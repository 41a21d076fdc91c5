import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests._parts import wait_until
from tests.deploy.plans import SERVE, STUBBORN, WITH_CHILD, SmallPlan

from talweg.deploy.errors import StartError
from talweg.deploy.folder import Folder
from talweg.deploy.services.definitions import Service
from talweg.deploy.supervision.processes import Guardian
from talweg.deploy.supervision.supervisor import HOPELESS_STARTS, Hooks, Supervisor


class Run:
    """A supervisor of a small plan, ticked by the test."""

    def __init__(self, plan: SmallPlan, guardian: Guardian) -> None:
        self.plan = plan
        self.said: list[str] = []
        self.deaths: list[tuple[str, int, bool]] = []
        self.stale: tuple[str, ...] = ()
        folder = Folder(plan.root)
        folder.create()
        hooks = Hooks(say=self.said.append, changed=lambda: None, died=self._died)
        self.supervisor = Supervisor(plan, folder, guardian, hooks)

    def _died(self, name: str, failed_starts: int, was_ready: bool) -> tuple[str, ...]:
        self.deaths.append((name, failed_starts, was_ready))
        return self.stale

    def tick_until(self, condition: Callable[[], bool]) -> None:
        def ticked() -> bool:
            if not condition():
                self.supervisor.tick()
            return condition()

        try:
            wait_until(ticked, timeout=20, what="the supervisor brings it about")
        except TimeoutError as error:
            error.add_note(f"it said {self.said}")
            raise

    def all_ready(self) -> bool:
        return all(self.plan.ready_file(name).exists() for name in self.plan.names) and set(
            self.supervisor.pids
        ) == set(self.plan.names)


@contextmanager
def running(plan: SmallPlan) -> Iterator[Run]:
    with Guardian() as guardian:
        run = Run(plan, guardian)
        yield run
        run.supervisor.stop(is_hurried=lambda: True)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class FullDisk(SmallPlan):
    """A plan whose files cannot be written for a while."""

    failures = 0

    def service(self, name: str) -> Service:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().service(name)


def test_what_has_run_is_started_again_once_the_disk_has_room(tmp_path: Path) -> None:
    plan = FullDisk(tmp_path, {"one": SERVE})
    with running(plan) as run:
        run.tick_until(run.all_ready)
        plan.failures = 2
        os.kill(run.supervisor.pids["one"], signal.SIGKILL)
        run.tick_until(lambda: plan.started == ["one", "one"])
        run.tick_until(run.all_ready)
        assert "one cannot be started ([Errno 28] No space left on device)" in run.said[1]
        assert len(run.said) == 3


def test_what_has_never_run_is_not_tried_again(tmp_path: Path) -> None:
    plan = FullDisk(tmp_path, {"one": SERVE})
    plan.failures = 1
    with running(plan) as run, pytest.raises(OSError, match="No space left"):
        run.supervisor.tick()


def test_a_service_starts_after_those_that_it_needs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    late = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n" + SERVE
    plan = SmallPlan(
        tmp_path,
        {"last": SERVE, "middle": SERVE, "first": late},
        needed={"last": ("middle",), "middle": ("first",)},
    )
    with running(plan) as run:
        # However often it is looked at, nothing starts before the first is ready.
        for _ in range(50):
            run.supervisor.tick()
        assert plan.started == ["first"]
        gate.touch()
        run.tick_until(run.all_ready)
        assert plan.started == ["first", "middle", "last"]


def test_a_dead_service_is_started_again_and_its_children_end_first(tmp_path: Path) -> None:
    plan = SmallPlan(tmp_path, {"service": WITH_CHILD})
    with running(plan) as run:
        run.tick_until(run.all_ready)
        old, child = run.supervisor.pids["service"], plan.child("service")
        os.kill(old, signal.SIGKILL)
        run.tick_until(lambda: len(plan.started) == 2)
        assert is_gone(child)
        run.tick_until(run.all_ready)
        assert run.supervisor.pids["service"] != old
        assert run.deaths == [("service", 0, True)]


def test_delays_grow_with_each_death(tmp_path: Path) -> None:
    plan = SmallPlan(tmp_path, {"service": "raise SystemExit(3)"}, is_essential=False)
    with running(plan) as run:
        run.tick_until(lambda: len(run.said) == 4)
    delays = [line.split("restarting it in ")[1] for line in run.said]
    assert delays == ["0.1 s", "0.2 s", "0.4 s", "0.8 s"]
    assert "status 3" in run.said[0]


def test_an_essential_service_that_never_comes_up_ends_the_start(tmp_path: Path) -> None:
    plan = SmallPlan(tmp_path, {"service": "raise SystemExit('the disk is full')"})
    with running(plan) as run:
        with pytest.raises(StartError, match=r"(?s)service ended with status 1.*the disk is full"):
            run.tick_until(lambda: False)
        assert len(plan.started) == HOPELESS_STARTS


def test_parts_that_were_told_something_stale_start_anew(tmp_path: Path) -> None:
    plan = SmallPlan(tmp_path, {"source": SERVE, "reader": SERVE})
    with running(plan) as run:
        run.tick_until(run.all_ready)
        reader = run.supervisor.pids["reader"]
        run.stale = ("reader",)
        os.kill(run.supervisor.pids["source"], signal.SIGKILL)
        run.tick_until(lambda: run.supervisor.pids["reader"] != reader)
        assert is_gone(reader)


def test_parts_stop_in_order(tmp_path: Path) -> None:
    order = tmp_path / "order"
    script = (
        "import signal, sys;"
        f"say = lambda *_: (open({str(order)!r}, 'a').write(sys.argv[1][-7:-6]), sys.exit());"
        "signal.signal(signal.SIGTERM, say);" + SERVE
    )
    plan = SmallPlan(tmp_path, dict.fromkeys("abc", script), stop_order=(("b",), ("c",), ("a",)))
    with running(plan) as run:
        run.tick_until(run.all_ready)
        run.supervisor.stop(is_hurried=lambda: False)
    assert order.read_text() == "bca"


def test_a_service_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    plan = SmallPlan(tmp_path, {"service": STUBBORN}, stop_order=(("service",),), stop_seconds=1)
    with running(plan) as run:
        run.tick_until(run.all_ready)
        pid = run.supervisor.pids["service"]
        was_gone: list[bool] = []

        def is_hurried() -> bool:
            was_gone.append(is_gone(pid))
            return False

        run.supervisor.stop(is_hurried=is_hurried)
        # It had time to stop by itself.
        assert was_gone
        assert not any(was_gone)
        assert is_gone(pid)


# Far from what an orderly stop may take.
@pytest.mark.timeout(300)
def test_in_a_hurry_nobody_is_waited_for(tmp_path: Path) -> None:
    plan = SmallPlan(tmp_path, {"service": STUBBORN}, stop_order=(("service",),), stop_seconds=600)
    with running(plan) as run:
        run.tick_until(run.all_ready)
        run.supervisor.stop(is_hurried=lambda: True)
        assert is_gone(run.supervisor.pids["service"])


ENDS_IN_ORDER = (
    "import pathlib, signal, sys, time\n"
    "def end(*_):\n"
    "    time.sleep(0.3)\n"
    "    pathlib.Path(sys.argv[1] + '.ended').touch()\n"
    "    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end)\n"
) + SERVE


def test_a_service_that_must_start_anew_ends_in_order_first(tmp_path: Path) -> None:
    plan = SmallPlan(tmp_path, {"orderly": ENDS_IN_ORDER, "other": SERVE})
    with running(plan) as run:
        run.tick_until(run.all_ready)
        first = run.supervisor.pids
        run.stale = ("orderly",)
        os.kill(first["other"], signal.SIGKILL)
        run.tick_until(lambda: plan.started.count("orderly") == 2)
        assert is_gone(first["orderly"])
        assert Path(f"{plan.ready_file('orderly')}.ended").exists()
        run.tick_until(run.all_ready)
        # It has died of nothing.
        assert [name for name, *_ in run.deaths] == ["other"]


def test_a_service_that_does_not_end_is_killed_and_starts_anew(tmp_path: Path) -> None:
    plan = SmallPlan(tmp_path, {"stubborn": STUBBORN, "other": SERVE}, stop_seconds=0.3)
    with running(plan) as run:
        run.tick_until(run.all_ready)
        first = run.supervisor.pids
        run.stale = ("stubborn",)
        os.kill(first["other"], signal.SIGKILL)
        run.tick_until(lambda: plan.started.count("stubborn") == 2)
        assert is_gone(first["stubborn"])
        run.tick_until(run.all_ready)
        assert [name for name, *_ in run.deaths] == ["other"]
