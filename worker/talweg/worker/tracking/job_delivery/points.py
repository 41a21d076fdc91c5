"""Points, parameters and tags on their way from an attempt's spool to the run."""

import logging
from collections.abc import Callable, Iterable, Mapping

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.errors import RefusedError
from talweg.worker.tracking.job_delivery.state import DeliveryState
from talweg.worker.tracking.outputs.labels import job_tags, parameters
from talweg.worker.tracking.runs import Runs
from talweg.worker.tracking.spool import Point

log = logging.getLogger(__name__)


class PointSender:
    """Sends what is new, each point once, and remembers it in the state of the job's delivery."""

    def __init__(self, job_id: str, runs: Runs, *, state: Callable[[], DeliveryState]) -> None:
        """Send nothing yet.

        Args:
            job_id: The job's, for the log.
            runs: MLflow.
            state: Gives how far the job's delivery is; it may be another one from call to call.
        """
        self._job_id, self._runs, self._state = job_id, runs, state

    def send(
        self,
        attempt: SpooledAttempt,
        spec: JobSpec,
        points: list[Point],
        *,
        is_overtaken: Callable[[SpooledAttempt, list[Point]], bool],
    ) -> bool:
        """Send some points and what else is new; return whether all of it, to the last call.

        Args:
            attempt: The attempt that tells of them.
            spec: The job's, filled.
            points: In the order of their steps.
            is_overtaken: Asked before each call: whether another machine has the job by now.
        """
        state = self._state()
        high = dict(state.high_water)
        fresh: list[Point] = []
        for step, at, values in points:
            new_values = {name: v for name, v in values.items() if step > high.get(name, -1)}
            high.update(dict.fromkeys(new_values, step))
            if new_values:
                fresh.append((step, at, new_values))
        params = {} if "params" in state.done else parameters(spec)
        if "computed" not in state.done:
            params |= attempt.computed
        tags = self.changed_tags({**job_tags(spec), **attempt.tags})
        if not self._log(
            points=fresh,
            params=params,
            tags=tags,
            may_go_on=lambda: not is_overtaken(attempt, points),
        ):
            return False
        state.high_water = high
        state.tags |= tags
        for name, sent in (("params", True), ("computed", bool(attempt.computed))):
            if sent and name not in state.done:
                state.done.append(name)
        return True

    def send_leftovers(
        self,
        overtaken: Iterable[SpooledAttempt],
        *,
        sent_of: Callable[[SpooledAttempt], int],
        save: Callable[[], None],
    ) -> None:
        """Send what overtaken attempts know, and nobody else has told of.

        Args:
            overtaken: The attempts, in their order.
            sent_of: How much of an attempt's file has been sent.
            save: Writes the state.
        """
        state = self._state()
        delivered_steps: dict[str, set[int]] = {}
        for attempt in overtaken:
            for points, offset in attempt.unsent(sent_of(attempt)):
                fresh: list[Point] = []
                for step, at, values in points:
                    for name in values.keys() - delivered_steps.keys():
                        delivered_steps[name] = self._runs.steps(state.run_id, name)
                    new_values = {
                        name: v for name, v in values.items() if step not in delivered_steps[name]
                    }
                    if new_values:
                        fresh.append((step, at, new_values))
                self._log(points=fresh, params={}, tags={})
                for step, _, values in fresh:
                    for name in values:
                        delivered_steps[name].add(step)
                state.offsets[str(attempt.number)] = offset
                save()

    def changed_tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Return the tags that the run does not have yet."""
        known = self._state().tags
        return {name: text for name, text in tags.items() if known.get(name) != text}

    def _log(
        self,
        *,
        points: list[Point],
        params: dict[str, str],
        tags: dict[str, str],
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Send all in one call; where MLflow refuses it, send each part alone."""
        state = self._state()
        run_id = state.run_id
        try:
            return self._runs.log(
                run_id, points=points, params=params, tags=tags, may_go_on=may_go_on
            )
        except RefusedError as exc:
            log.error("%s: MLflow refuses some of its results: %s", self._job_id, exc)
        for point in points:
            if not may_go_on():
                return False
            with state.leaving_out("metrics"):
                self._runs.log(run_id, points=[point])
        for name, value in params.items():
            with state.leaving_out("parameters"):
                self._runs.log(run_id, params={name: value})
        with state.leaving_out("tags"):
            self._runs.log(run_id, tags=tags)
        return True
