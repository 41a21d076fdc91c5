"""Arenas change how fast a network trains and nothing else."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.worker.training.jobs import job
from torch import Tensor, nn

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training import NeverStop, RecordingReporter
from talweg.worker.training.loop import train
from talweg.worker.training.optim import kernels, optimizers, update
from talweg.worker.training.optim.arena import Arena
from talweg.worker.training.optim.update import FlatUpdate, Update
from talweg.worker.training.setup import Setup, set_up
from talweg.worker.training.step import backward, plain_backward

CPU = torch.device("cpu")
OPTIMIZERS: dict[str, Any] = {
    "sgd": {"sgd": {"learning_rate": 0.05, "momentum": 0, "weight_decay": 0.01}},
    "momentum": {"sgd": {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}},
    "adam": {"adam": {"weight_decay": 0.1}},
    "adamw": {"adamw": {"weight_decay": 0.1}},
    "rmsprop": {"rmsprop": {"momentum": 0.5}},
    "adagrad": {"adagrad": {"weight_decay": 0.01}},
}
# Sizes that fill vectors and sizes that do not, in both orders.
MLP = {"mlp": {"hidden": [32, 7, 16, 33], "batch_norm": True, "dropout": 0.2}}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has everything made from then on train the plain way."""
    return lambda: monkeypatch.setattr(update, "LARGEST_FLAT", 0)


def ready(spec: JobSpec) -> Setup:
    return set_up(spec, CPU, RecordingReporter())


def steps(setup: Setup) -> RecordingReporter:
    """Train to the end with a seed for dropout, and give what was told."""
    report = RecordingReporter()
    setup.step.recorder._report = report
    setup.evaluator._report = report
    torch.manual_seed(1)
    ending = train(
        setup.step,
        plan=setup.plan,
        batches=setup.batches,
        evaluator=setup.evaluator,
        report=report,
        control=NeverStop(),
    )
    assert ending is None
    return report


def same(one: Any, other: Any) -> bool:
    """Return whether nested states agree bit for bit, names and their order included."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "extra",
    [{}, {"clip_norm": 0.5}, {"clip_value": 0.05}, {"accumulation": 3}],
    ids=["alone", "clip_norm", "clip_value", "accumulation"],
)
def test_weights_state_and_metrics_are_those_of_the_plain_way(
    optimizer: str, extra: dict[str, Any], plainly: Callable[[], None]
) -> None:
    spec = job(
        model=MLP,
        optimizer=OPTIMIZERS[optimizer],
        schedule="cosine",
        training={"epochs": 2, "batch_size": 16, "log_every_steps": 1, **extra},
    )
    flat = ready(spec)
    told = steps(flat)
    plainly()
    plain = ready(spec)
    expected = steps(plain)
    assert type(flat.state.update) is FlatUpdate
    assert type(plain.state.update) is Update
    assert same(flat.state.model.state_dict(), plain.state.model.state_dict())
    assert same(flat.state.optimizer.state_dict(), plain.state.optimizer.state_dict())
    assert told.series("train/loss") == expected.series("train/loss")
    assert told.series("val/loss") == expected.series("val/loss")
    norms, plain_norms = (r.series("guard/grad_norm") for r in (told, expected))
    if "clip_norm" in extra:
        # What gradients are scaled by is the same to the last bit.
        assert norms == plain_norms
        assert any(norm > 0.5 for _, norm in norms)
    assert [n for _, n in norms] == pytest.approx([n for _, n in plain_norms], rel=1e-6)


def test_a_loss_with_weights_of_its_own_trains_in_the_arena_too(
    plainly: Callable[[], None],
) -> None:
    spec = job(
        task="multiclass",
        dataset="iris",
        loss={"arcface": {}},
        training={"epochs": 3},
    )
    flat = ready(spec)
    steps(flat)
    plainly()
    plain = ready(spec)
    steps(plain)
    assert isinstance(flat.state.update, FlatUpdate)
    assert same(flat.state.model.state_dict(), plain.state.model.state_dict())


class Heads(nn.Module):
    """A trunk and two heads, one of which a step may leave out."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(5, 16)
        self.heads = nn.ModuleList([nn.Linear(16, 1), nn.Linear(16, 1)])

    def forward(self, x: Tensor, heads: Sequence[int]) -> Tensor:
        h = self.trunk(x).relu()
        return torch.stack([self.heads[head](h) for head in heads]).sum(dim=0)


def heads_trained(
    make: Callable[[Heads], Update], used: Sequence[Sequence[int]]
) -> tuple[Heads, Update]:
    torch.manual_seed(0)
    model = Heads()
    done = make(model)
    generator = torch.Generator().manual_seed(1)
    for heads in used:
        loss = model(torch.randn(8, 5, generator=generator), heads).square().mean()
        backward(loss)
        done.step()
        done.clear()
    return model, done


def build(name: str, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    return optimizers.build(job(optimizer=OPTIMIZERS[name]).optimizer, list(parameters))


ALL, FIRST, SECOND = (0, 1), (0,), (1,)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "used",
    [
        [FIRST] * 6,
        [ALL, ALL, FIRST, ALL, SECOND, ALL, ALL],
        [FIRST, SECOND, ALL, ALL, FIRST, ALL],
        [SECOND, SECOND, ALL],
    ],
    ids=["one", "now and then", "begins apart", "joins late"],
)
def test_a_parameter_that_takes_no_part_keeps_its_value_and_moments(
    optimizer: str, used: Sequence[Sequence[int]]
) -> None:
    ours, done = heads_trained(lambda m: FlatUpdate(build(optimizer, [*m.parameters()])), used)
    theirs, plain = heads_trained(lambda m: Update(build(optimizer, [*m.parameters()])), used)
    assert same(ours.state_dict(), theirs.state_dict())
    assert same(done.optimizer.state_dict(), plain.optimizer.state_dict())
    torch.manual_seed(0)
    if used == [FIRST] * 6:
        assert same(ours.heads[1].state_dict(), Heads().heads[1].state_dict())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("ways", [(FlatUpdate, Update), (Update, FlatUpdate)])
def test_state_goes_from_one_way_to_the_other(
    optimizer: str, ways: tuple[type[Update], type[Update]]
) -> None:
    before, after = ways
    expected, _ = heads_trained(lambda m: Update(build(optimizer, [*m.parameters()])), [ALL] * 9)
    half, done = heads_trained(lambda m: before(build(optimizer, [*m.parameters()])), [ALL] * 5)
    model = Heads()
    model.load_state_dict(half.state_dict())
    other = after(build(optimizer, [*model.parameters()]))
    for parameter in model.parameters():
        # As if it had trained before: what is loaded takes the place of that.
        assert parameter.grad is None or not parameter.grad.any()
    other.optimizer.load_state_dict(copy.deepcopy(done.optimizer.state_dict()))
    generator = torch.Generator().manual_seed(1)
    for number in range(9):
        x = torch.randn(8, 5, generator=generator)
        if number >= 5:
            backward(model(x, ALL).square().mean())
            other.step()
            other.clear()
    assert same(model.state_dict(), expected.state_dict())


def test_state_that_is_written_to_in_place_counts() -> None:
    used = [ALL] * 4
    model, done = heads_trained(lambda m: FlatUpdate(build("adamw", [*m.parameters()])), used)
    kept = copy.deepcopy((model.state_dict(), done.optimizer.state_dict()["state"]))

    def go_on() -> dict[str, Tensor]:
        for _ in range(3):
            backward(model(torch.ones(8, 5), ALL).square().mean())
            done.step()
            done.clear()
        return copy.deepcopy(model.state_dict())

    first = go_on()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(kept[0][name])
        for number, state in done.optimizer.state_dict()["state"].items():
            for name, tensor in state.items():
                tensor.copy_(kept[1][number][name])
    assert same(go_on(), first)


def test_a_gradient_that_was_replaced_is_refused() -> None:
    model, done = heads_trained(lambda m: FlatUpdate(build("adamw", [*m.parameters()])), [ALL])
    model.zero_grad(set_to_none=True)
    backward(model(torch.ones(8, 5), ALL).square().mean())
    with pytest.raises(RuntimeError, match="replaced"):
        done.step()


def test_what_leaves_the_arena_stands_alone(tmp_path: Path) -> None:
    setup = ready(job(model=MLP, training={"epochs": 1}))
    model = setup.state.model
    steps(setup)
    first = next(model.parameters())
    assert first.untyped_storage().nbytes() > first.nbytes
    twin = copy.deepcopy(model)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    saved = load_file(tmp_path / "weights.safetensors")
    values = {name: value.clone() for name, value in model.state_dict().items()}
    setup.state.update.close()
    for parameter in (*model.parameters(), *twin.parameters()):
        assert parameter.grad is None
        assert parameter.untyped_storage().nbytes() == parameter.nbytes
    assert same(dict(model.state_dict()), values)
    assert same(dict(twin.state_dict()), values)
    assert saved.keys() == values.keys()
    assert all(torch.equal(saved[name], values[name]) for name in values)


def test_a_torch_without_the_private_kernels_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = job(model=MLP, training={"epochs": 2})
    with_kernels = ready(spec)
    steps(with_kernels)
    for name in ("sgd", "adam", "adamw", "adagrad"):
        monkeypatch.delattr(torch, f"_fused_{name}_")
    assert kernels._of_torch() == {}
    monkeypatch.setattr(kernels, "KERNELS", kernels._of_torch())
    without = ready(spec)
    assert isinstance(without.state.update, FlatUpdate)
    monkeypatch.undo()
    assert without.state.update._kernel is None
    steps(without)
    assert same(with_kernels.state.model.state_dict(), without.state.model.state_dict())


def test_every_kernel_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, kernel in kernels.KERNELS.items():
        calls: list[int] = []

        def counted(*arguments: Any, inner: Any = kernel.step, calls: Any = calls) -> None:
            calls.append(len(arguments[0]))
            inner(*arguments)

        monkeypatch.setitem(
            kernels.KERNELS, kind, kernels.Kernel(step=counted, state=kernel.state)
        )
        name = {"SGD": "momentum"}.get(kind.__name__, kind.__name__.lower())
        spec = job(
            model={"mlp": {"hidden": [32, 16]}},
            optimizer=OPTIMIZERS[name],
            training={"epochs": 1},
        )
        setup = ready(spec)
        steps(setup)
        # 10·32, 32, 32·16, 16 and 16 fill their vectors and are one; the last bias is its own.
        # In a first step some optimizers make their state themselves.
        own = 1 if kind in (torch.optim.Adam, torch.optim.AdamW) else 0
        assert calls == [2] * (setup.plan.length.steps - own)


@pytest.mark.parametrize("way", [FlatUpdate, Update])
def test_what_follows_a_step_is_called_after_each(way: type[Update]) -> None:
    seen: list[Tensor] = []
    model = Heads()
    weight = model.trunk.weight
    done = way(build("adam", [*model.parameters()]), after=lambda: seen.append(weight.clone()))
    for _ in range(3):
        backward(model(torch.ones(8, 5), ALL).square().mean())
        done.step()
        assert torch.equal(seen[-1], weight)
        done.clear()
    assert len(seen) == 3


def test_both_backward_passes_give_the_same_gradients() -> None:
    model, twin = Heads(), Heads()
    twin.load_state_dict(model.state_dict())
    x = torch.randn(8, 5)
    for _ in range(2):
        backward(model(x, ALL).square().mean())
        plain_backward(twin(x, ALL).square().mean())
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


def test_an_arena_holds_every_element_once() -> None:
    tensors = [torch.empty(shape) for shape in ((4, 4), (3,), (16, 2), (1,), (), (5, 7), (16,))]
    arena = Arena(tensors, lanes=16)
    for number, view in enumerate(arena.views, start=1):
        assert view.shape == tensors[number - 1].shape
        assert view.data_ptr() % 4 == 0
        assert (view.data_ptr() - arena.flat.data_ptr()) % 64 == 0
        view.fill_(number)
    sizes = [piece.numel() for piece in arena.pieces]
    assert sizes == [64, 3, 1, 1, 35]
    assert sum(sizes) == sum(tensor.numel() for tensor in tensors)
    assert float(sum(piece.sum() for piece in arena.pieces)) == sum(
        number * tensor.numel() for number, tensor in enumerate(tensors, start=1)
    )
    arena.fill([torch.full(tensor.shape, -1.0) for tensor in tensors])
    assert float(arena.flat.sum()) == -sum(sizes)


@pytest.mark.parametrize(
    ("model", "flat"),
    [
        (nn.Linear(400, 498), True),
        (nn.Linear(400, 500), False),
        (nn.Linear(3, 2).double(), False),
        (nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), True),  # type: ignore[call-overload]
    ],
    ids=["small", "large", "float64", "channels_last"],
)
def test_arenas_are_taken_where_they_pay_and_can_be(model: nn.Module, flat: bool) -> None:
    made = update.update_of(build("adamw", [*model.parameters()]))
    assert isinstance(made, FlatUpdate) is flat


def test_parameters_that_are_not_learnt_train_the_plain_way() -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert type(update.update_of(build("adamw", [*model.parameters()]))) is Update


def test_a_gradient_that_is_not_finite_is_seen_wherever_it_stands() -> None:
    spec = job(model=MLP, training={"epochs": 1})
    for value in (math.nan, math.inf):
        for number in range(len(list(ready(spec).state.model.parameters()))):
            setup = ready(spec)
            parameter = list(setup.state.model.parameters())[number]
            assert parameter.grad is not None
            assert setup.step.guard.inspect(torch.tensor(1.0)).finite
            parameter.grad.view(-1)[-1] = value
            assert not setup.step.guard.inspect(torch.tensor(1.0)).finite
