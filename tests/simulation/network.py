"""Messages between processes: each takes its time, and may be late, lost or doubled."""

import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import grpc
from tests.simulation.kernel import Kernel, Process
from tests.simulation.server import RpcFailure

_SHORTEST_S, _LONGEST_S = 0.002, 0.12

Answered = Callable[[Any], None]


class Serves(Protocol):
    """What calls arrive at."""

    def serve(self, sender: str, method: str, request: Any) -> Any:
        """Return an answer, or a failure as a value."""


class Network:
    """Carries calls to the server and answers back."""

    def __init__(self, kernel: Kernel, seed: int, service: Serves) -> None:
        self._kernel, self._seed, self._service = kernel, seed, service
        self._num_messages: dict[str, int] = {}
        self._faults: dict[str, deque[tuple[str, str, float]]] = {}
        self._cut_off_until: dict[str, float] = {}

    def expect(self, sender: str, method: str, fate: str, late: float) -> None:
        """Have something happen to the sender's next call of a method."""
        self._faults.setdefault(sender, deque()).append((method, fate, late))

    def cut_off(self, sender: str, seconds: float) -> None:
        """Lose all messages from and to a sender for a while."""
        self._cut_off_until[sender] = self._kernel.now + seconds

    def end_faults(self) -> None:
        """Lose, double and delay nothing more."""
        self._faults.clear()
        self._cut_off_until.clear()

    def send(self, sender: str, method: str, request: Any, answered: Answered) -> None:
        """Send a call; its answer may come once, several times or never."""
        fate, late = self._fate_of(sender, method)
        if fate == "request lost" or self._is_cut_off(sender):
            return
        out = self._latency(sender) + (late if fate == "request late" else 0.0)
        self._kernel.after(
            out, lambda: self._arrive(sender, method, request, answered, fate, late)
        )
        if fate == "twice":
            again = out + late
            self._kernel.after(
                again, lambda: self._arrive(sender, method, request, answered, "", 0.0)
            )

    def _arrive(
        self, sender: str, method: str, request: Any, answered: Answered, fate: str, late: float
    ) -> None:
        answer = self._service.serve(sender, method, request)
        if fate == "answer lost" or self._is_cut_off(sender):
            return
        back = self._latency(sender) + (late if fate == "answer late" else 0.0)
        self._kernel.after(back, lambda: answered(answer))

    def _fate_of(self, sender: str, method: str) -> tuple[str, float]:
        faults = self._faults.get(sender)
        if faults:
            for fault in faults:
                if fault[0] == method:
                    faults.remove(fault)
                    return fault[1:]
        return "", 0.0

    def _is_cut_off(self, sender: str) -> bool:
        return self._kernel.now < self._cut_off_until.get(sender, 0.0)

    def _latency(self, sender: str) -> float:
        # By the sender's own count: a message less elsewhere changes nothing here.
        number = self._num_messages[sender] = self._num_messages.get(sender, 0) + 1
        share = zlib.crc32(f"{self._seed} {sender} {number}".encode()) / 2**32
        return _SHORTEST_S + share**3 * (_LONGEST_S - _SHORTEST_S)


class Stub:
    """A process's stub of all services: calls wait in virtual time."""

    def __init__(self, network: Network, process: Process, sender: str) -> None:
        self._network, self._process, self._sender = network, process, sender

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(request: Any, /, *, timeout: float | None = None) -> Any:
            return self._call(method, request, timeout)

        return call

    def _call(self, method: str, request: Any, timeout: float | None) -> Any:
        sent = type(request)()
        sent.CopyFrom(request)

        def begin(waiter: Any) -> None:
            self._network.send(
                self._sender, method, sent, lambda answer: self._process.wake(waiter, (answer,))
            )

        answer = self._process.pause(begin, timeout)
        if answer is None:
            raise RpcFailure(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")
        (value,) = answer
        if isinstance(value, RpcFailure):
            raise RpcFailure(value.code(), value.details(), value.status)
        return value


class StubChannel:
    """As the worker's `Channel`: the services by name, which one stub answers for all."""

    def __init__(self, stub: Stub) -> None:
        self.workers = self.jobs = stub
