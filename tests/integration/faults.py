"""What may befall a stack."""

import os
import signal

from tests.integration.stack import Stack


def kill_child(stack: Stack) -> None:
    child = stack.worker_child()
    assert child is not None
    os.kill(child, signal.SIGKILL)


def kill_worker(stack: Stack) -> None:
    stack.kill("worker-0")


def end_worker(stack: Stack) -> None:
    """As a machine that is about to be shut down does."""
    stack.kill("worker-0", signal.SIGTERM)


def kill_server(stack: Stack) -> None:
    stack.kill("server")


def wipe_broker(stack: Stack) -> None:
    broker = stack.data / "broker"
    for file in sorted(broker.rglob("*"), reverse=True):
        if file.is_file() and ("aof" in file.name or file.suffix in (".rdb", ".incr", ".base")):
            file.unlink()
    stack.kill("broker")
