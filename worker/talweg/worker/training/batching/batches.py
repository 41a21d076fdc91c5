"""Divides the training data into the batches of each optimizer step."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.v1.spec_pb2 import Training
from talweg.worker.data.large import is_large
from talweg.worker.tasks import Batch, shuffled
from talweg.worker.tasks.common.batch import Summand
from talweg.worker.training.optim.lr_schedules import Length

Draw = Callable[[int, torch.Generator], Tensor]
"""Gives an order of so many samples."""

Augment = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Changes a batch's arrays by what it draws from torch's random state."""

Divisor = Callable[[Tensor], Tensor | None]
"""What a loss's mean over some targets divides by; None where it is the number of samples."""


@dataclass(frozen=True)
class Plan:
    """How a run's steps follow from the sizes."""

    num_samples: int
    """Training samples."""
    batch_size: int
    """Samples in a batch."""
    accumulation: int
    """Batches in an optimizer step."""
    sums: bool
    """The loss is a sum over samples: an optimizer step then averages over its batches, else over
    its samples."""
    length: Length
    """Optimizer steps."""

    @classmethod
    def of(cls, training: Training, num_samples: int, *, sums: bool) -> "Plan":
        """Plan a filled `Training`.

        Args:
            training: How long, in what batches.
            num_samples: Training samples.
            sums: Whether the loss's reduction is sum.
        """
        steps_an_epoch = -(-num_samples // (training.batch_size * training.accumulation))
        steps = training.steps if training.HasField("steps") else training.epochs * steps_an_epoch
        return cls(
            num_samples=num_samples,
            batch_size=training.batch_size,
            accumulation=training.accumulation,
            sums=sums,
            length=Length(steps=steps, steps_an_epoch=steps_an_epoch),
        )

    def ends_epoch(self, order: "Order") -> bool:
        """Return whether all steps of an epoch have been taken."""
        return order.position == self.length.steps_an_epoch

    @property
    def epochs(self) -> int:
        """Passes over the training data; the last may be cut short."""
        return -(-self.length.steps // self.length.steps_an_epoch)


class Order:
    """The order of the training data: another one each epoch, and a place in the epoch's."""

    def __init__(self, seed: int) -> None:
        """Stand before the first epoch.

        Args:
            seed: Decides all orders.
        """
        self._generator = torch.Generator().manual_seed(seed)
        self._epoch_state: Tensor = self._generator.get_state()
        self.position = 0
        """Optimizer steps of the epoch that have been taken; 0 before an epoch begins."""

    @property
    def state(self) -> Tensor:
        """The random state from which the epoch's order is drawn, or the next one's."""
        return self._epoch_state if self.position else self._generator.get_state()

    def seed_of(self, batch: int) -> int:
        """Return a seed for one of the epoch's batches; once the order is drawn.

        Args:
            batch: Its number in the epoch, from 0.
        """
        digest = hashlib.sha256(self._epoch_state.numpy().tobytes())
        digest.update(batch.to_bytes(8))
        return int.from_bytes(digest.digest()[:8]) >> 1

    def go_to(self, state: Tensor, position: int) -> None:
        """Go to a place in an epoch: what `state` and `position` were there."""
        self._generator.set_state(state)
        self._epoch_state = state.clone()
        self.position = position

    def draw(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Return the epoch's order of the samples, the same again until the epoch is over."""
        if self.position:
            self._generator.set_state(self._epoch_state)
        else:
            self._epoch_state = self._generator.get_state()
        return draw(self._generator)


class Batches:
    """The training data, in another order each epoch."""

    def __init__(
        self,
        arrays: Mapping[str, Tensor],
        plan: Plan,
        *,
        device: torch.device | None = None,
        draw: Draw = shuffled,
        draw_among: Callable[[Tensor | None], Draw] | None = None,
        divisor: Divisor | None = None,
        summands: Sequence[Summand] = (),
        quarters: int = 1,
        augment: Augment | None = None,
    ) -> None:
        """Begin no epoch yet.

        Args:
            arrays: What batches carry, by name.
            plan: How they are divided.
            device: Where batches are to be; None for where the arrays are.
            draw: Gives an order of so many samples.
            draw_among: Gives what draws, in its place, from all or from some of the samples.
            divisor: What the loss's mean over samples divides by, or None for their number.
            summands: The losses that the loss adds up, in place of a divisor of the whole.
            quarters: How often the arrays hold each sample; see `TaskRunner.quarters`.
            augment: Changes a batch's arrays at random; None for none.
        """
        self._arrays = arrays
        self._device = device or next(iter(arrays.values())).device
        self._plan = plan
        self._draw = draw
        self._draw_among = draw_among
        self._divisor = divisor
        self._summands = summands
        self._quarters = quarters
        self._augment = augment
        self._admitted: Tensor | None = None
        self._drawn = torch.empty(0, dtype=torch.long)
        self.admit(None)

    def admit(self, samples: Tensor | None) -> None:
        """Draw from some of the samples alone, from the next epoch on that is asked for.

        An epoch keeps its number of steps: it passes over these samples as often as that takes.

        Args:
            samples: Indices into the training part (n,), at least one; None for all.
        """
        plan = self._plan
        self._admitted = samples
        if self._draw_among is not None:
            self._draw = self._draw_among(samples)
        count = plan.num_samples if samples is None else len(samples)
        sizes = [plan.batch_size] * (count // plan.batch_size)
        rest = count % plan.batch_size
        if rest == 1 and sizes and samples is not None:
            # One sample has no spread, which some networks and losses need.
            sizes[-1] += 1
        elif rest:
            sizes.append(rest)
        starts = range(0, len(sizes), plan.accumulation)
        self._passes = -(-plan.length.steps_an_epoch // len(starts))
        self._sizes = sizes * self._passes
        self._windows = [
            slice(first + start, first + min(start + plan.accumulation, len(sizes)))
            for first in range(0, len(self._sizes), len(sizes))
            for start in starts
        ][: plan.length.steps_an_epoch]

    def of_epoch(self, order: Order) -> Iterator[list[Batch]]:
        """Return the batches of each optimizer step, from the order's place to the epoch's end."""
        self._drawn = order.draw(self._draw_epoch)
        windows = self._windows[order.position :]
        if not windows:
            return
        carried = self._carried(windows[0].start)
        if self._plan.accumulation == 1:
            for window, arrays in zip(windows, carried, strict=False):
                number = window.start
                order.position += 1
                yield [Batch(self._augmented(arrays, order, number))]
            return
        for batches in windows:
            order.position += 1
            numbers = range(batches.start, batches.stop)
            yield self._together(
                [self._augmented(next(carried), order, number) for number in numbers]
            )

    def _carried(self, first: int) -> Iterator[Mapping[str, Tensor]]:
        """Return the arrays of the epoch's batches, from one of them on."""
        divided = [self._divided(array, first) for array in self._arrays.values()]
        for slices in zip(*divided, strict=True):
            yield dict(zip(self._arrays, slices, strict=True))

    def _divided(self, array: Tensor, first: int) -> Iterable[Tensor]:
        """Return an array's batches of the epoch, from one of them on.

        One copy in the new order and slices of it cost less than gathering batch by batch, which
        is for what does not fit in memory.
        """
        if is_large(array.nbytes):
            samples = torch.split(self._drawn, self._sizes)[first:]
            return (array.index_select(0, drawn).to(self._device) for drawn in samples)
        ordered = array.index_select(0, self._drawn.to(array.device)).to(self._device)
        return torch.split(ordered, self._sizes)[first:]

    def _augmented(
        self, arrays: Mapping[str, Tensor], order: Order, number: int
    ) -> Mapping[str, Tensor]:
        """Change a batch by what follows from its place alone, so that it is the same again.

        torch's own random state, from which dropout draws, stays as it was.
        """
        if self._augment is None:
            return arrays
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(order.seed_of(number))
            return self._augment(arrays)

    def samples(self, order: Order) -> tuple[list[int], list[int]]:
        """Tell of the samples of the step that was given last.

        Returns:
            Their indices into the training part, and by how many quarters each was turned; the
            latter empty where none is.
        """
        batches = torch.split(self._drawn, self._sizes)[self._windows[order.position - 1]]
        drawn = torch.cat(batches)
        if self._quarters == 1:
            return drawn.tolist(), []
        once = self._plan.num_samples // self._quarters
        return (drawn % once).tolist(), (drawn // once).tolist()

    def select(self, window: Sequence[Batch], wanted: Sequence[bool]) -> list[Batch]:
        """Return the batches of a step with some of its samples alone.

        Args:
            window: The step's batches.
            wanted: Which of its samples stay, in their order; at least one.

        Returns:
            Batches with shares that are those of a step of these samples.
        """
        carried = []
        start = 0
        for batch in window:
            chosen = [index for index in range(len(batch)) if wanted[start + index]]
            start += len(batch)
            if chosen:
                on = torch.tensor(chosen, device=batch.x.device)
                arrays = batch.arrays.items()
                carried.append({name: array.index_select(0, on) for name, array in arrays})
        return self._together(carried) if len(window) > 1 else [Batch(carried[0])]

    def part(self, batch: Batch, number: int, count: int) -> Batch:
        """Return one of so many parts of a batch, whose losses have the batch's loss as mean.

        A part without samples has one all the same, which does not count.
        """
        ends = [len(batch) * index // count for index in range(count + 1)]
        start, end = ends[number], max(ends[number + 1], ends[number] + 1)
        if start == len(batch):
            start, end = 0, 1
        part = {name: array[start:end] for name, array in batch.arrays.items()}
        if ends[number] == ends[number + 1]:
            return Batch(part, 0.0)
        if self._plan.sums:
            return Batch(part, batch.share * count)
        rest = [
            {name: array[a:b] for name, array in batch.arrays.items()}
            for index, (a, b) in enumerate(itertools.pairwise(ends))
            if a < b and index != number
        ]
        own = self._together([part, *rest], adds_up=True)[0]
        of_batch = batch.factors or [1.0] * len(own.factors)
        factors = [a * b for a, b in zip(own.factors, of_batch, strict=True)]
        return Batch(part, batch.share * own.share * count, factors)

    def _draw_epoch(self, generator: torch.Generator) -> Tensor:
        """Return the samples of an epoch in their order, pass after pass."""
        admitted = self._admitted
        if admitted is None:
            return self._draw(self._plan.num_samples, generator)
        orders = [self._draw(len(admitted), generator) for _ in range(self._passes)]
        return torch.cat([admitted[order] for order in orders])

    def _together(
        self, window: Sequence[Mapping[str, Tensor]], *, adds_up: bool = False
    ) -> list[Batch]:
        """Return batches with their parts in a step: together they equal one large batch.

        Args:
            window: Their arrays.
            adds_up: Sums make up one sum, as of a batch that was cut; else their mean is taken.
        """
        if not self._summands:
            sums, divisor = self._plan.sums, self._divisor
            shares = _shares(window, divisor, "target", sums=sums, adds_up=adds_up)
            return [Batch(arrays, share) for arrays, share in zip(window, shares, strict=True)]
        if len(window) == 1:
            return [Batch(window[0])]
        by_samples = _shares(window)
        by_summand = [
            _shares(window, each.divisor, each.target, sums=each.sums, adds_up=adds_up)
            for each in self._summands
        ]
        batches = []
        for arrays, share, own in zip(
            window, by_samples, zip(*by_summand, strict=True), strict=True
        ):
            batches.append(Batch(arrays, share, [each / share for each in own]))
        return batches


def _shares(
    window: Sequence[Mapping[str, Tensor]],
    divisor: Divisor | None = None,
    target: str = "",
    *,
    sums: bool = False,
    adds_up: bool = False,
) -> Sequence[float | Tensor]:
    """Return the part of each of some batches in the loss of all.

    Args:
        window: Their arrays.
        divisor: What a mean over targets divides by; None for the number of samples.
        target: The name of the targets, which may lack.
        sums: The loss is a sum.
        adds_up: Sums make up one sum; else their mean is taken.
    """
    if sums:
        return [1.0 if adds_up else 1 / len(window)] * len(window)
    targets = [arrays[target] for arrays in window if target in arrays]
    if divisor is not None and targets:
        whole = divisor(torch.cat(targets))
        parts = [part for part in map(divisor, targets) if part is not None]
        if whole is not None:
            return [(part / whole).float() for part in parts]
    counts = [len(next(iter(arrays.values()))) for arrays in window]
    return [count / sum(counts) for count in counts]
