"""Clipping of gradients, and the norms that it goes by."""

import copy
from collections.abc import Sequence

import pytest
import torch
from tests.worker.training.guarded import BATCH_NORM, ready, same, steps
from tests.worker.training.jobs import job
from torch import Tensor

from talweg.worker.training.guard.guard import Guard
from talweg.worker.training.optim import foreach


@pytest.mark.parametrize("clip", [0.01, 0.5, 1e6])
def test_clipping_by_norm_is_torchs(clip: float) -> None:
    setup = ready(job(training={"epochs": 1}))
    model = setup.state.model
    guard = Guard(model, setup.state.update, clip_norm=clip)
    batch = next(setup.batches.of_epoch(setup.state.order))[0]
    loss = setup.loss_of(batch)
    torch.autograd.backward(loss)
    twin = copy.deepcopy(model)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert ours.grad is not None
        theirs.grad = ours.grad.clone()
    expected = torch.nn.utils.clip_grad_norm_(twin.parameters(), clip)
    reading = guard.inspect(loss.detach())
    assert reading.loss == float(loss.detach())
    assert reading.norm == pytest.approx(float(expected), rel=1e-6)
    assert reading.clipped == (reading.norm > clip)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-6, atol=0)  # type: ignore[arg-type]


def test_clipping_by_value_cuts_each_element() -> None:
    setup = ready(job(training={"epochs": 1, "clip_value": 0.01}))
    model = setup.state.model
    batch = next(setup.batches.of_epoch(setup.state.order))[0]
    loss = setup.loss_of(batch)
    torch.autograd.backward(loss)
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    setup.step.guard.inspect(loss.detach())
    cut = [p.grad for p in model.parameters() if p.grad is not None]
    assert any(gradient.abs().max() > 0.01 for gradient in before)
    for ours, whole in zip(cut, before, strict=True):
        assert torch.equal(ours, whole.clamp(-0.01, 0.01))


def test_plain_forms_do_what_torchs_private_functions_do() -> None:
    def tensors() -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), ())]

    def equal(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))

    assert equal(foreach.norms(tensors()), foreach.plain_norms(tensors()))
    one, other = tensors(), tensors()
    foreach.scale(one, 0.3)
    foreach.plain_scale(other, 0.3)
    assert equal(one, other)
    assert not equal(one, tensors())
    foreach.copy(one, tensors())
    foreach.plain_copy(other, tensors())
    assert equal(one, tensors())
    assert equal(other, tensors())


def test_the_loop_works_without_torchs_private_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = job(model=BATCH_NORM, training={"steps": 20, "clip_norm": 0.5})
    fast, plain = ready(spec), ready(spec)
    assert steps(fast) is None
    monkeypatch.setattr(foreach, "norms", foreach.plain_norms)
    monkeypatch.setattr(foreach, "scale", foreach.plain_scale)
    monkeypatch.setattr(foreach, "copy", foreach.plain_copy)
    assert steps(plain) is None
    assert same(fast.state.model.state_dict(), plain.state.model.state_dict())
