"""What is known of a sweep: its message from the server, and how it is kept up to date."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from talweg.client._errors import TalwegError
from talweg.client._handle import FRESH_SECONDS
from talweg.client.sweeps._values import SweepState, Trial
from talweg.spec import sweep_id
from talweg.v1 import sweeps_pb2

if TYPE_CHECKING:
    from talweg.client._connection import Connection


class SweepInfo:
    """A sweep as last reported by the server; nothing here asks the server."""

    def __init__(self, message: sweeps_pb2.Sweep) -> None:
        """Wrap a message."""
        self._as_of = 0.0
        self._take_message(message)
        self.difference: sweeps_pb2.SweepDifference | None = None
        """What differs from the sweep that it was created, or validated, as an edit of."""

    @property
    def message(self) -> sweeps_pb2.Sweep:
        """The message from the server."""
        return self._message

    @property
    def name(self) -> str:
        """sweeps/{id}; empty for a sweep that was only validated."""
        return self._message.name

    @property
    def id(self) -> str:
        """The name without ``sweeps/``."""
        return sweep_id(self.name) if self.name else ""

    @property
    def state(self) -> SweepState:
        """The state of the sweep as last reported; `refresh` and events of a watch update it."""
        return SweepState.of(self._message.state)

    @property
    def tracking_url(self) -> str | None:
        """The page of its summary in MLflow as last reported; None until there is one."""
        return self._message.tracking.url or None

    @property
    def spec(self) -> sweeps_pb2.SweepSpec:
        """A copy of the spec, with the defaults of the sweep."""
        copy = sweeps_pb2.SweepSpec()
        copy.CopyFrom(self._message.spec)
        return copy

    @property
    def best(self) -> tuple[Trial, ...]:
        """The best trial so far, as last reported; where values are compared, that of each."""
        return tuple(map(Trial.of, self._message.best))

    def __repr__(self) -> str:
        """Show name and state."""
        if not self.name:
            return f"<{type(self).__name__} (validated only)>"
        return f"<{type(self).__name__} {self.name} {self.state}>"

    def _repr_html_(self) -> str:
        """Show state, progress and the best trials as last reported."""
        from talweg.client.notebooks import html
        from talweg.client.sweeps._progress import SweepProgress

        if not self.name:
            return html.text(repr(self))
        return html.of_sweep(self.id, SweepProgress(self._message))

    def _take_message(self, message: sweeps_pb2.Sweep) -> None:
        self._message = message
        self._as_of = time.monotonic()

    def _named(self) -> str:
        if not self.name:
            raise ValueError("this sweep was only validated, not created: it has no name")
        return self.name

    def _take(self, event: sweeps_pb2.SweepEvent) -> None:
        """Update the message by an event of a watch; older events are ignored."""
        if event.cursor <= self._message.last_cursor:
            return
        self._message.last_cursor = event.cursor
        self._as_of = time.monotonic()
        if event.HasField("state"):
            self._message.state = event.state.state
            self._message.message = event.state.reason
            self._message.ClearField("end_time")
        elif event.HasField("finished"):
            self._message.state = event.finished.state
            self._message.message = event.finished.reason
            self._message.end_time.CopyFrom(event.time)


class SweepHandle(SweepInfo):
    """A sweep as last reported by the server; `refresh` updates it."""

    def __init__(self, connection: "Connection", message: sweeps_pb2.Sweep) -> None:
        """Wrap a message; called by `Client`."""
        super().__init__(message)
        self._connection = connection

    @property
    def state(self) -> SweepState:
        """The state of the sweep, of a second ago at most; the last known without the server."""
        state = SweepState.of(self._message.state)
        if state.is_final or not self.name or time.monotonic() - self._as_of < FRESH_SECONDS:
            return state
        with suppress(TalwegError):
            self.refresh()
        return SweepState.of(self._message.state)

    @property
    def tracking_url(self) -> str | None:
        """The page of its summary in MLflow; None until it is written, once the sweep has ended.

        Raises:
            TalwegError: An error of the server.
        """
        if not self._message.tracking.url and self.name:
            self.refresh()
        return self._message.tracking.url or None

    def refresh(self) -> Self:
        """Update the sweep from the server.

        Raises:
            TalwegError: An error of the server.
        """
        request = sweeps_pb2.GetSweepRequest(name=self._named())
        self._take_message(self._connection.call(self._connection.sweeps.GetSweep, request))
        return self
