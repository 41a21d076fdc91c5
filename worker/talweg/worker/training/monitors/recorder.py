"""Thins the metrics of training: a point now and then, and always the first and the last."""

import math
import time
from collections.abc import Callable, Mapping

from torch import Tensor

from talweg.v1.jobs_pb2 import LogLine
from talweg.worker.training.guard.guard import Reading
from talweg.worker.training.interface import Reporter
from talweg.worker.training.state.snapshot import Values

_STEPS_APART = 10
_SECONDS_APART = 0.1


class Recorder:
    """Turns what each step saw into points."""

    def __init__(
        self,
        report: Reporter,
        *,
        every_steps: int | None,
        clips: bool,
        watched: Callable[[], Mapping[str, float]] = dict,
        watches: bool = False,
    ) -> None:
        """Make a recorder.

        Args:
            report: Where the points go.
            every_steps: A point at least this many steps after the last; None for one every 10
                steps or 0.1 s, whichever is later.
            clips: Whether gradients are clipped by their norm, so that it is worth telling.
            watched: Gives what else a point holds.
            watches: Whether that must be read when the point's step is done, and not later.
        """
        self._report = report
        self._steps_apart = _STEPS_APART if every_steps is None else every_steps
        self._seconds_apart = _SECONDS_APART if every_steps is None else 0.0
        self._clips = clips
        self._watched, self._watches = watched, watches
        self._step = 0
        self._reading = Reading(math.nan, math.nan)
        self._learning_rate = math.nan
        self._next_step = 1
        self._num_clipped = 0
        self._then: Mapping[str, float] | None = None
        self._left_out: set[str] = set()
        # Of the steps since the last point.
        self._samples = 0
        self._losses, self._num_losses = 0.0, 0
        self._last_step = 0
        self._last_time = time.perf_counter()

    def step(
        self,
        step: int,
        reading: Reading,
        *,
        learning_rate: float,
        samples: int,
        watched: Mapping[str, float] | None = None,
        at: float | None = None,
    ) -> None:
        """Take a step, and give a point where one is due.

        Args:
            step: Its number.
            reading: What the guard saw of it.
            learning_rate: The schedule's, for this step.
            samples: How many it has.
            watched: What of all that is watched was another when the step was taken.
            at: When it was done, by the performance counter; now where None.
        """
        self._step = step
        self._reading = reading
        self._learning_rate = learning_rate
        self._samples += samples
        self._losses += reading.loss
        self._num_losses += 1
        self._num_clipped += reading.clipped
        self._then = watched
        # The counter first: reading the clock costs more.
        if step < self._next_step:
            return
        now = time.perf_counter() if at is None else at
        if step > 1 and now - self._last_time < self._seconds_apart:
            return
        self._point(now)

    def must_see(self, step: int) -> bool:
        """Return whether a step may have a point with values that must be read at that step."""
        return self._watches and step >= self._next_step

    def flush(self) -> None:
        """Give a point for the last step, unless it has one."""
        if self._step > self._last_step:
            self._point(time.perf_counter())

    def evaluation(self, step: int, part: str, values: Mapping[str, float]) -> None:
        """Give what an evaluation found, without what is not finite, which is said once."""
        finite = {f"{part}/{name}": v for name, v in values.items() if math.isfinite(v)}
        if finite:
            self._report.metrics(step, finite)
        for name, value in values.items():
            metric = f"{part}/{name}"
            if metric not in finite and metric not in self._left_out:
                self._left_out.add(metric)
                text = (
                    f"{metric} is {value} at step {step} and is not logged where it is not finite"
                )
                self._report.log(LogLine.WARNING, text)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return nothing; see `Stateful`."""
        return {}

    def values(self) -> Values:
        """Return the last step and what has been counted; see `Stateful`."""
        return {
            "step": self._step,
            "reading": list(self._reading),
            "rate": self._learning_rate,
            "next_step": self._next_step,
            "num_clipped": self._num_clipped,
            "samples": self._samples,
            "losses": self._losses,
            "num_losses": self._num_losses,
            "last_step": self._last_step,
            "seconds": time.perf_counter() - self._last_time,
            "left_out": sorted(self._left_out),
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take them back; see `Stateful`."""
        self._step, self._learning_rate = values["step"], values["rate"]
        self._reading = Reading(*values["reading"])
        self._next_step, self._last_step = values["next_step"], values["last_step"]
        self._num_clipped, self._samples = values["num_clipped"], values["samples"]
        # Checkpoints of earlier versions do not hold these.
        self._losses, self._num_losses = values.get("losses", 0.0), values.get("num_losses", 0)
        self._last_time = time.perf_counter() - values["seconds"]
        # Checkpoints of earlier versions do not have it.
        self._left_out = set(values.get("left_out", ()))

    def _point(self, now: float) -> None:
        values = {
            "train/loss": self._reading.loss,
            "guard/grad_norm": self._reading.norm,
            "lr": self._learning_rate,
            "throughput/samples_per_second": self._samples / max(now - self._last_time, 1e-9),
        }
        if self._clips:
            # The share of all steps so far: the same whenever points are made.
            values["guard/clipped"] = self._num_clipped / self._step
        watched = {**self._watched(), **(self._then or {})}
        if self._num_losses:
            watched["train/loss_mean"] = self._losses / self._num_losses
        values |= {name: v for name, v in watched.items() if math.isfinite(v)}
        self._report.metrics(self._step, values)
        self._last_time = now
        self._last_step = self._step
        self._next_step = self._step + self._steps_apart
        self._samples = 0
        self._losses, self._num_losses = 0.0, 0
