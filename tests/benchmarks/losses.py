"""What the vectorised losses cost beside the loops and formulas that they stand for.

Run with `make bench`, or alone: `python -m tests.benchmarks.losses`. Both sides compute value and
gradient of the same numbers on one thread, and must agree. Time is processor time, and only
ratios of pairs that ran side by side are given: the machine may be busy with other things.

pytorch-metric-learning is no requirement of the project. To have its row measured, install it
apart and name the folder: `pip install --no-deps --target DIR pytorch-metric-learning tqdm`, then
run with `PYTHONPATH=DIR`.
"""

import importlib
import importlib.util
import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from tests.benchmarks.pairs import median_interval, one_thread
from tests.benchmarks.table import Row, render
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from talweg.spec import from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import LossModule, build

METRIC_LEARNING = "pytorch_metric_learning"
MARGIN = 1.0
TEMPERATURE = 0.5
SMOOTH = 1e-5

Inputs = Mapping[str, Tensor]
Compute = Callable[[Inputs], Tensor]


@dataclass(frozen=True)
class Comparison:
    """A loss, and another way to its value."""

    what: str
    """What the table calls it."""
    spec: Any
    """The loss, in JSON form."""
    other: Compute
    """The other way."""
    inputs: Inputs
    """What both are given; floats want gradients."""
    goal: float
    """How many times faster the loss should be at least."""
    num_pairs: int
    """How often both are timed."""
    remark: str
    """What the other way does."""


def by_anchor(labels: Tensor) -> Compute:
    """Online triplets, hard, by a Python loop over anchors."""

    def compute(inputs: Inputs) -> Tensor:
        z = inputs["embeddings"]
        losses = []
        for anchor in range(len(z)):
            distances = torch.linalg.vector_norm(z - z[anchor], dim=1)
            same = labels == labels[anchor]
            other = ~same
            same[anchor] = False
            if same.any() and other.any():
                gap = distances[same].max() - distances[other].min()
                losses.append(F.relu(gap + MARGIN))
        return torch.stack(losses).mean()

    return compute


def by_metric_learning() -> Compute:
    """Online triplets, hard, by pytorch-metric-learning's miner and loss."""
    library = {
        part: importlib.import_module(f"{METRIC_LEARNING}.{part}")
        for part in ("distances", "losses", "miners", "reducers")
    }
    distance = library["distances"].LpDistance(normalize_embeddings=False)
    miner = library["miners"].BatchHardMiner(distance=distance)
    loss = library["losses"].TripletMarginLoss(
        margin=MARGIN, distance=distance, reducer=library["reducers"].MeanReducer()
    )

    def compute(inputs: Inputs) -> Tensor:
        z, labels = inputs["embeddings"], inputs["labels"]
        value: Tensor = loss(z, labels, miner(z, labels))
        return value

    return compute


def by_class(inputs: Inputs) -> Tensor:
    """Dice of classes by a loop over them."""
    shares, target = inputs["pred"].softmax(1), inputs["target"]
    total = torch.zeros(())
    for c in range(shares.shape[1]):
        share, truth = shares[:, c].flatten(1), (target == c).float().flatten(1)
        both = (share * truth).sum(1)
        score = (2 * both + SMOOTH) / (share.sum(1) + truth.sum(1) + SMOOTH)
        total = total + (1 - score).mean()
    return total / shares.shape[1]


def by_textbook(inputs: Inputs) -> Tensor:
    """NT-Xent by a masked matrix of similarities and cross-entropy."""
    z = F.normalize(torch.cat([inputs["z1"], inputs["z2"]]), dim=1)
    number = len(inputs["z1"])
    own = torch.eye(2 * number, dtype=torch.bool)
    scores = (z @ z.T / TEMPERATURE).masked_fill(own, -torch.inf)
    partner = torch.arange(2 * number).roll(number)
    return F.cross_entropy(scores, partner)


def comparisons() -> Iterator[Comparison]:
    """Return what can be compared here; without pytorch-metric-learning its row is left out."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    labels = torch.randint(0, 32, (1024,), generator=generator)
    batch = {"embeddings": numbers(1024, 128), "labels": labels}
    yield Comparison(
        what="online triplets, hard, N = 1024, D = 128, against a loop over anchors",
        spec={"online_triplet": {"margin": MARGIN}},
        other=by_anchor(labels),
        inputs=batch,
        goal=35,
        num_pairs=7,
        remark="a Python loop that measures each anchor's distances by differences",
    )
    if importlib.util.find_spec(METRIC_LEARNING) is not None:
        yield Comparison(
            what="online triplets, hard, N = 1024, D = 128, against pytorch-metric-learning",
            spec={"online_triplet": {"margin": MARGIN}},
            other=by_metric_learning(),
            inputs=batch,
            goal=2.5,
            num_pairs=15,
            remark=(
                f"{version('pytorch-metric-learning')}: BatchHardMiner and TripletMarginLoss "
                "over one LpDistance"
            ),
        )
    yield Comparison(
        what="Dice of 21 classes, 4 images of 128², against a loop over classes",
        spec={"dice": {"mode": "multiclass"}},
        other=by_class,
        inputs={
            "pred": numbers(4, 21, 128, 128),
            "target": torch.randint(0, 21, (4, 128, 128), generator=generator),
        },
        goal=3,
        num_pairs=15,
        remark="a softmax, then sums class by class",
    )
    yield Comparison(
        what="NT-Xent, N = 512, D = 128, against the textbook form",
        spec={"nt_xent": {"temperature": TEMPERATURE}},
        other=by_textbook,
        inputs={"z1": numbers(512, 128), "z2": numbers(512, 128)},
        goal=1,
        num_pairs=15,
        remark="the matrix of similarities without its diagonal, and cross-entropy",
    )


def compare(comparison: Comparison) -> Row:
    """Time pairs of value and gradient, alternating which goes first.

    Raises:
        AssertionError: The two sides differ.
    """
    module = _module(comparison.spec)
    sides: tuple[Compute, Compute] = (module, comparison.other)
    ours, other = (_run(side, comparison.inputs) for side in sides)
    torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)
    ratios = []
    for pair in range(comparison.num_pairs):
        seconds = {}
        for side in sides if pair % 2 else reversed(sides):
            started = time.process_time()
            _run(side, comparison.inputs)
            seconds[side] = time.process_time() - started
        ratios.append(seconds[comparison.other] / seconds[module])
    low, high = median_interval(ratios)
    median = statistics.median(ratios)
    return Row(
        comparison.what,
        f"{median:.1f} times as fast [{low:.1f}, {high:.1f}]",
        goal=f"{comparison.goal:g}",
        met=median >= comparison.goal,
        remark=f"median of {comparison.num_pairs} pairs and its interval; {comparison.remark}",
    )


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that live at once, at the most."""

    def __init__(self) -> None:
        """Count from zero."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: int = 0
        self._now = 0
        self._seen: dict[int, object] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it gives."""
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        key, size = storage.data_ptr(), storage.nbytes()
        if key in self._seen or not size:
            return
        self._now += size
        self.bytes = max(self.bytes, self._now)
        self._seen[key] = weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._now -= size
        self._seen.pop(key, None)


def peak_bytes(spec: Any, inputs: Inputs) -> int:
    """Return the most that value and gradient hold at once beside their inputs."""
    module = _module(spec)
    peak = Peak()
    with peak:
        _run(module, inputs)
    return peak.bytes


_BATCH_LOSSES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("online_triplet", {"strategy": "hard"}),
    ("online_triplet", {"strategy": "semihard"}),
    ("online_triplet", {"strategy": "all"}),
    ("supcon", {}),
    ("circle", {}),
    ("multi_similarity", {}),
    ("nt_xent", {}),
)


def memory() -> Row:
    """Return how memory grows with a batch twice as large, for the loss where it grows most."""
    found = {}
    for name, params in _BATCH_LOSSES:
        peaks = []
        for number in (512, 1024):
            z = torch.randn(number, 16, generator=torch.Generator().manual_seed(1))
            labels = torch.arange(number) % 32
            named = {"z1": z, "z2": -z} if name == "nt_xent" else {"embeddings": z}
            extra = {} if name == "nt_xent" else {"labels": labels}
            peaks.append(peak_bytes({name: params}, {**named, **extra}))
        found[" ".join([name, *params.values()])] = peaks
    growth = {name: large / small for name, (small, large) in found.items()}
    worst = max(growth, key=lambda name: growth[name])
    matrices = ", ".join(
        f"{name} {large / (4 * 1024**2):.0f}" for name, (_, large) in found.items()
    )
    return Row(
        "memory of losses over a batch, N = 1024 against N = 512",
        f"at most {growth[worst]:.2f} times ({worst})",
        goal="4.2",
        met=growth[worst] <= 4.2,
        remark=f"peak of value and gradient at N = 1024, in matrices N × N of float32: {matrices}",
    )


def measure() -> list[Row]:
    """Return the losses' figures."""
    with one_thread():
        rows = [compare(comparison) for comparison in comparisons()]
        rows.append(memory())
    if importlib.util.find_spec(METRIC_LEARNING) is None:
        missing = Row(
            "online triplets, hard, N = 1024, D = 128, against pytorch-metric-learning",
            "not measured",
            goal="2.5",
            remark="it is not installed here; tests/benchmarks/losses.py says how to",
        )
        rows.insert(1, missing)
    return rows


def _module(spec: Any) -> LossModule:
    return build(from_dict(spec, Loss))


def _run(compute: Compute, inputs: Inputs) -> tuple[Tensor, ...]:
    """Return the value and the gradients by all floats."""
    given = {
        name: tensor.detach().requires_grad_(tensor.is_floating_point())
        for name, tensor in inputs.items()
    }
    value = compute(given)
    learned = [tensor for tensor in given.values() if tensor.requires_grad]
    return value.detach(), *torch.autograd.grad(value, learned)


if __name__ == "__main__":
    print(render(measure()))
