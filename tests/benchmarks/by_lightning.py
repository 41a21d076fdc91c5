"""What the training loop costs beside PyTorch Lightning's Trainer with a DataLoader.

Run with `make bench`, or alone: `python -m tests.benchmarks.by_lightning`. Lightning is no
requirement of the project. To have this row measured, install it apart and name the folder:
`pip install --no-deps --target DIR pytorch-lightning lightning-utilities torchmetrics tqdm fsspec`
and then run with `PYTHONPATH=DIR`. What Lightning does beside training is switched off: no logger,
no checkpoints, no progress bar, no summary, no validation.
"""

import importlib
import importlib.util
import logging
import warnings
from importlib.metadata import version
from typing import Any

import torch
from tests.benchmarks.loop import CASES, LEARNING_RATE, spec_of
from tests.benchmarks.pairs import one_thread, ratio, timed
from tests.benchmarks.table import Row, render
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from talweg.worker import data, models, tasks, training

LIGHTNING = "pytorch_lightning"
GOAL = 0.35
NUM_PAIRS = 15

_CASE = CASES[0]
_WHAT = f"loop against Lightning's Trainer with a DataLoader: {_CASE.name}"


def measure() -> list[Row]:
    """Return the figure beside Lightning, where it is installed."""
    if importlib.util.find_spec(LIGHTNING) is None:
        remark = "it is not installed here; tests/benchmarks/by_lightning.py says how to"
        return [Row(_WHAT, "not measured", goal=f"{GOAL:.2f}", remark=remark)]
    lightning = importlib.import_module(LIGHTNING)
    logging.getLogger(LIGHTNING).setLevel(logging.ERROR)
    spec = spec_of(_CASE)
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    arrays = task.arrays(bundle.train)

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            shape = bundle.inputs.shape
            self.model = models.build(spec.model, shape, task.num_outputs, seed=0)

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            x, target = batch
            return _CASE.loss(self.model(x), target)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE, fused=True)

    def by_lightning() -> None:
        trainer = lightning.Trainer(
            max_steps=_CASE.steps,
            max_epochs=-1,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        dataset: TensorDataset = TensorDataset(arrays["x"], arrays["target"])
        loader: DataLoader[Any] = DataLoader(dataset, _CASE.batch_size, shuffle=True)
        trainer.fit(Module(), loader)
        assert trainer.global_step == _CASE.steps

    def ours() -> None:
        report = training.RecordingReporter()
        result = training.run(spec, report=report, control=training.NeverStop())
        assert result.steps == _CASE.steps

    with one_thread(), warnings.catch_warnings():
        # On workers of the loader and the like: with data in memory none are quicker.
        warnings.simplefilter("ignore")
        by_lightning()
        ours()
        found = ratio(timed(ours), timed(by_lightning), num_pairs=NUM_PAIRS)
    remark = f"pytorch-lightning {version('pytorch-lightning')}, all extras switched off"
    return [found.row(_WHAT, goal=GOAL, remark=remark)]


if __name__ == "__main__":
    print(render(measure()))
