"""Multitask: several heads over one network, each a task of its own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg import spec as specs
from talweg.v1 import tasks_pb2
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import LossModule
from talweg.worker.models import HeadShape
from talweg.worker.tasks.common.base import (
    DryRun,
    EvalResult,
    Explanation,
    OutputAccumulator,
    StepInfo,
    TaskRunner,
)
from talweg.worker.tasks.common.batch import Batch, Summand
from talweg.worker.tasks.detection.task import Detection
from talweg.worker.tasks.multitask.dense_regression import Column, Depth
from talweg.worker.tasks.multitask.predictions import HeadPredictions
from talweg.worker.tasks.multitask.weighting import (
    ByGradNorm,
    Weighing,
    is_below_zero,
    last_shared,
    weighing_of,
)
from talweg.worker.tasks.segmentation.task import Segmentation


class Multitask(TaskRunner):
    """Several things of one sample; the model gives a mapping from each head's name."""

    watches = True
    criterion: Weighing

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data.

        Raises:
            UserSpecError: The data is not what a head reads.
        """
        heads = specs.heads(spec)
        self.runners = {head.name: _runner(spec, head, bundle) for head in heads}
        """The heads' tasks by name."""
        self._paths = {head.name: head.path for head in heads}
        self.postprocess = HeadPredictions(
            {name: runner.postprocess for name, runner in self.runners.items()}
        )
        self.heads = tuple(
            HeadShape(name, runner.num_outputs, runner.of_pixels, runner.of_boxes)
            for name, runner in self.runners.items()
        )
        self.num_outputs = sum(runner.num_outputs for runner in self.runners.values())
        self.criterion = weighing_of(
            spec.loss, [runner.criterion for runner in self.runners.values()]
        )
        self.computed = {
            f"{name}/{key}": text
            for name, runner in self.runners.items()
            for key, text in runner.computed.items()
        }
        self._last: list[Tensor] = []

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x, and each head's other arrays behind its name."""
        arrays = {"x": part.x}
        for name, runner in self.runners.items():
            own = runner.arrays(part).items()
            arrays |= {f"{name}/{key}": array for key, array in own if key != "x"}
        return arrays

    def of_head(self, name: str, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the arrays of one head, by its own names."""
        own = {key: array for key, array in arrays.items() if key.startswith(f"{name}/")}
        return {"x": arrays["x"]} | {
            key.removeprefix(f"{name}/"): array for key, array in own.items()
        }

    def frozen(self, model: nn.Module) -> None:
        """See that gradnorm has gradients to go by; see `TaskRunner.frozen`."""
        if isinstance(self.criterion, ByGradNorm) and not last_shared(model).requires_grad:
            raise UserSpecError(
                "freeze: found patterns that freeze all layers that the heads share, beside loss "
                "gradnorm, which weighs heads by their gradients there; allowed patterns that "
                "leave one of these layers to train, or another loss, such as uncertainty"
            )

    def each(self, outputs: Mapping[str, Tensor], batch: Batch) -> list[Tensor]:
        """Return the heads' losses, in their order, each by its part in a step."""
        losses, shown, left = [], [], iter(batch.factors)
        for name, runner in self.runners.items():
            own = Batch(self.of_head(name, batch.arrays))
            inputs = runner.loss_inputs(outputs[name], own)
            terms = runner.criterion.summands if batch.factors else ()
            with torch.set_grad_enabled(torch.is_grad_enabled() and not terms):
                loss = runner.criterion(inputs)
            shown.append(loss.detach())
            if terms:
                loss = runner.criterion(inputs, [next(left) for _ in terms])
            elif batch.factors:
                loss = loss * next(left)
            losses.append(loss)
        if self.criterion.training:
            self._last = shown
        return losses

    def summands(self) -> list[Summand]:
        """Return the losses of all heads, and those that they add up; see `TaskRunner`.

        None under gradnorm, which goes by the losses of each batch as they are.
        """
        if isinstance(self.criterion, ByGradNorm):
            return []
        return [
            Summand(f"{name}/target", each.divisor, each.sums)
            for name, runner in self.runners.items()
            for each in runner.criterion.summands or (runner.criterion,)
        ]

    def loss(self, model: nn.Module, batch: Batch, step_info: StepInfo) -> Tensor:
        """Weigh the heads' losses; see `TaskRunner.loss`."""
        each = self.each(model(batch.x), batch)
        if not self.criterion.training:
            return self.criterion({"losses": torch.stack(each)})
        return self.criterion.in_training(each, last_shared(model))

    def weighted_criteria(self) -> Sequence[tuple[LossModule, float]]:
        """Return the heads' losses with their weights in the step under way."""
        runners, weights = self.runners.values(), self.criterion.weights.tolist()
        return [(runner.criterion, w) for runner, w in zip(runners, weights, strict=True)]

    def dry_runs(
        self, model: nn.Module, batch: Batch, arrays: Mapping[str, Tensor]
    ) -> Iterator[DryRun]:
        """Return each head's loss; see `TaskRunner.dry_runs`."""
        outputs = model(batch.x)
        for name, runner in self.runners.items():
            own = Batch(self.of_head(name, batch.arrays))
            inputs = runner.loss_inputs(outputs[name], own)
            whole = self.of_head(name, arrays)
            targets = {key: whole[key] for key in inputs if key in whole}
            yield DryRun(self._paths[name], runner.criterion, inputs, targets)

    def watched(self) -> dict[str, float]:
        """Return each head's loss in the last batch, and its weight."""
        weights = self.criterion.weights.tolist()
        values = {f"weights/{name}": w for name, w in zip(self.runners, weights, strict=True)}
        last = zip(self.runners, self._last, strict=False)
        return values | {f"train/{name}/loss": float(loss) for name, loss in last}

    def explain(self) -> Explanation | None:
        """Tell of a head whose loss was below 0, where weights go by losses."""
        for (name, path), loss in zip(self._paths.items(), map(float, self._last), strict=False):
            if self.criterion.below_zero and is_below_zero(loss):
                return Explanation(
                    value=loss,
                    hint=f"The loss of the head {name}, {path}, fell below 0, and "
                    f"{self.criterion.below_zero}. Change it so that it is never negative (add "
                    "what it can fall to), or weigh the heads by loss: sum.",
                )
        return None

    def updated(self) -> None:
        """Let the weights follow an update."""
        self.criterion.updated()

    def accumulator(self, model: nn.Module) -> OutputAccumulator:
        """Begin an evaluation of a model."""
        return _EachHead(self, model)


class _EachHead(OutputAccumulator):
    """Judges each head by its own metrics, and the heads' losses by their weights."""

    def __init__(self, task: Multitask, model: nn.Module) -> None:
        super().__init__(model)
        self._task = task
        self._accumulators: dict[str, OutputAccumulator] = {}
        for name, runner in task.runners.items():
            accumulator = runner.accumulator(model)
            assert isinstance(accumulator, OutputAccumulator)
            self._accumulators[name] = accumulator

    def take(self, outputs: Any, batch: Batch) -> None:
        for name, accumulator in self._accumulators.items():
            accumulator.take(outputs[name], Batch(self._task.of_head(name, batch.arrays)))

    def result(self) -> EvalResult:
        results = {name: accumulator.result() for name, accumulator in self._accumulators.items()}
        each = torch.tensor([result.values["loss"] for result in results.values()])
        criterion = self._task.criterion
        values = {"loss": float(criterion({"losses": each.to(criterion.weights)}))}
        shown: dict[str, NDArray[Any]] = {}
        for name, result in results.items():
            values |= {f"{name}/{key}": value for key, value in result.values.items()}
            shown |= {f"{name}/{key}": array for key, array in result.shown.items()}
        return EvalResult(values, shown)


def _runner(spec: JobSpec, head: specs.Head, bundle: DataBundle) -> TaskRunner:
    single = specs.spec_of_head(spec, head)
    if isinstance(head.message, tasks_pb2.Segmentation):
        return Segmentation(single, bundle)
    if isinstance(head.message, tasks_pb2.ObjectDetection):
        return Detection(single, bundle)
    if isinstance(head.message, tasks_pb2.Column):
        return Column(single, bundle, head.message.column)
    return Depth(single, bundle)
