"""Images channel by channel or pixel by pixel in memory: the same training up to rounding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import flat, job
from tests.worker.training.jobs import run as run_job
from tests.worker.training.poisoned import Run, same
from torch import Tensor, nn

from talweg.blobs import Blobs
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training import Stop
from talweg.worker.training.optim.update import FlatUpdate, Update
from talweg.worker.training.state import checkpoint_files

LAST_FORMAT = torch.channels_last
OPTIMIZERS: dict[str, Any] = {
    "adamw": "adamw",
    "sgd": {"sgd": {"learning_rate": 0.05, "momentum": 0.9}},
    "rmsprop": "rmsprop",
}


def spec(channels_last: bool, **fields: Any) -> JobSpec:
    """Return a convnet of more channels than one, whose strides therefore differ."""
    return job(
        task="multiclass",
        dataset="digits",
        model={"convnet": {"channels": [6, 10], "batch_norm": True, "dropout": 0.2}},
        loss="cross_entropy",
        training={"steps": 14, "batch_size": 64, "channels_last": channels_last},
        **fields,
    )


def is_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=LAST_FORMAT) and not tensor.is_contiguous()


@pytest.mark.parametrize("is_flat", [True, False])
def test_weights_and_images_stand_pixel_by_pixel(
    is_flat: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_flat:
        monkeypatch.setattr("talweg.worker.training.optim.update.LARGEST_FLAT", 0)
    made = Run(spec(True))
    state = made.setup.state
    assert type(state.update) is (FlatUpdate if is_flat else Update)
    convolutions = [m for m in state.model.modules() if isinstance(m, nn.Conv2d)]
    seen: list[bool] = []
    for module in convolutions:
        module.register_forward_hook(lambda _module, _given, made: seen.append(is_last(made)))
    assert made.to_the_end() is None
    # The first convolution has one input channel, of which both orders are one.
    second = convolutions[1].weight
    assert is_last(second)
    moments = state.optimizer.state[second]
    assert all(is_last(moments[name]) for name in ("exp_avg", "exp_avg_sq"))
    assert len(seen) >= 28
    assert all(seen[1::2])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_arenas_change_no_bit(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spec(True, optimizer=OPTIMIZERS[optimizer])
    ends = []
    for largest in (200_000, 0):
        monkeypatch.setattr("talweg.worker.training.optim.update.LARGEST_FLAT", largest)
        made = Run(asked)
        assert made.to_the_end() is None
        learnt = made.learnt()
        # Of arenas the norm is summed up in another order.
        learnt.pop("norms")
        ends.append(learnt)
    assert same(*ends)


@pytest.mark.parametrize("is_flat", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_goes_on_from_a_file_bit_for_bit(
    optimizer: str, is_flat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_flat:
        monkeypatch.setattr("talweg.worker.training.optim.update.LARGEST_FLAT", 0)
    asked = spec(True, optimizer=OPTIMIZERS[optimizer])
    whole = Run(asked)
    assert whole.to_the_end() is None
    expected = whole.learnt()

    class At:
        left = 6

        def check(self) -> Stop | None:
            self.left -= 1
            return None if self.left else Stop("shutdown")

    first = Run(asked)
    assert isinstance(first.to_the_end(control=At()), Stop)
    blobs = Blobs(str(tmp_path))
    checkpoint_files.write(blobs, "last", first.setup.snapshots.now(), {})
    second = Run(asked)
    second.setup.snapshots.restore(checkpoint_files.read(blobs, "last").snapshot)
    assert second.to_the_end() is None
    assert same(second.learnt(), expected)


def test_the_result_is_the_same_but_for_rounding_and_stands_as_others_do() -> None:
    ends = []
    for channels_last in (False, True):
        result, _ = run_job(spec(channels_last))
        assert result.state == Job.SUCCEEDED, result.message
        assert result.model is not None
        assert all(p.is_contiguous() for p in result.model.parameters())
        ends.append(flat(result.model))
    assert torch.allclose(ends[0], ends[1], rtol=1e-3, atol=1e-4)
