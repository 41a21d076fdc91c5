"""The part of a client that creates sweeps and finds them again."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from talweg.client._handle import new_request_id
from talweg.client._pages import paged
from talweg.client.data._inputs import Inputs, time_to_read
from talweg.client.sweeps._files import SweepLike, to_sweep
from talweg.client.sweeps._sweeps import Sweep
from talweg.client.sweeps._values import SweepState, sweep_state_number
from talweg.spec import sweep_name
from talweg.v1 import sweeps_pb2

if TYPE_CHECKING:
    from talweg.client._connection import Connection

_PAGE = 50


class SweepClient:
    """The part of a client that creates sweeps and finds them again."""

    _connection: "Connection"

    def sweep(
        self,
        spec: SweepLike,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
        edits: str = "",
    ) -> Sweep:
        """Create a sweep: many settings of one job. A data file of its base is uploaded first.

        Args:
            spec: A SweepSpec, its JSON form, or the path of a sweep file.
            request_id: An idempotency key: the same spec with the same id returns the same sweep.
                Generated if absent, so that retries are safe.
            validate_only: Only check and complete the spec: the returned sweep has no name, and
                tells the number of its trials and jobs.
            edits: ``sweeps/{id}``, or the id alone, of an earlier version of this sweep: the
                `difference` of the returned one tells which settings are new, kept, to be run
                again, and removed. The earlier one stays as it is.

        Raises:
            InvalidSpec: The spec is invalid; with all violations.
            NotFound: The sweep of `edits` does not exist.
            AlreadyExists: The request id was used for another spec.
            OSError: The sweep file cannot be read.
            TalwegError: Another error of the server.
        """
        whole = sweeps_pb2.SweepSpec()
        whole.CopyFrom(self._connection.work(to_sweep, spec))
        if whole.HasField("base"):
            inputs = Inputs(self._connection)
            whole.base.CopyFrom(inputs.resolved(whole.base))
        request = sweeps_pb2.CreateSweepRequest(
            spec=whole,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
            edits=sweep_name(edits.removeprefix("sweeps/")) if edits else "",
        )
        response = self._connection.call(
            self._connection.sweeps.CreateSweep, request, at_least=time_to_read([whole.base])
        )
        sweep = Sweep(self._connection, response.sweep)
        if response.HasField("difference"):
            sweep.difference = response.difference
        return sweep

    def get_sweep(self, name: str) -> Sweep:
        """Return the handle of a sweep.

        Args:
            name: ``sweeps/{id}``, or the id alone.

        Raises:
            NotFound: The sweep does not exist.
            ValueError: This is not the name of a sweep.
            TalwegError: Another error of the server.
        """
        request = sweeps_pb2.GetSweepRequest(name=sweep_name(name.removeprefix("sweeps/")))
        message = self._connection.call(self._connection.sweeps.GetSweep, request)
        return Sweep(self._connection, message)

    def sweeps(
        self, *, states: Iterable[SweepState | str] = (), limit: int | None = None
    ) -> Iterator[Sweep]:
        """Yield sweeps, the newest first, page by page; without their best trials.

        Args:
            states: Only sweeps in these states, such as ``["RUNNING"]``; all if empty.
            limit: The largest number of sweeps.

        Raises:
            ValueError: There is no such state.
            TalwegError: An error of the server.
        """
        for message in paged(
            self._connection,
            self._connection.sweeps.ListSweeps,
            sweeps_pb2.ListSweepsRequest(states=map(sweep_state_number, states)),
            lambda response: response.sweeps,
            page_size=_PAGE,
            limit=limit,
        ):
            yield Sweep(self._connection, message)
