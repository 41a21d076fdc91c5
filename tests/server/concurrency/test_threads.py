import errno
import os
import threading

import pytest

from talweg.server.concurrency.threads import as_process_limit, started_threads
from talweg.server.errors import ProcessLimit


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
    ],
)
def test_what_cannot_be_started_is_told_with_what_to_do(error: Exception) -> None:
    refused = as_process_limit(error)
    assert isinstance(refused, ProcessLimit)
    assert "ulimit -u" in str(refused)


@pytest.mark.parametrize("error", [RuntimeError("another"), OSError(errno.EIO, "of a disk")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert as_process_limit(error) is None


def test_threads_run_before_they_are_needed() -> None:
    executor = started_threads(3, name="early")
    names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("early") for name in names) == 3
    executor.shutdown()


def test_where_one_is_refused_none_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    begun: list[threading.Thread] = []

    def refuse(thread: threading.Thread) -> None:
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError):
        started_threads(3, name="refused")
    for thread in begun:
        thread.join(60)
        assert not thread.is_alive()
