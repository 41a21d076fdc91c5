"""Variational autoencoder: a code for each sample, and samples of codes."""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.v1 import losses_pb2
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.losses.functional import generative
from talweg.worker.models import VariationalAutoencoder, draw
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import EvalResult, MetricAccumulator, TaskRunner
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.mean_loss import MeanLoss
from talweg.worker.tasks.vae.predictions import Reconstruction, is_binary, postprocessor

ACTIVE = 0.01
"""Variance of a code's mean over samples above which its number says something of the sample."""
# A sample that was scaled and scaled back may miss a bound by its rounding.
_ROUNDING = 1e-5
_NUM_SHOWN = 8
_NUM_SAMPLES = 64
_NOISE_AT_ONCE = 1024
_SEED = 0


class Vae(TaskRunner):
    """Codes from which samples can be made again."""

    contract = {"x": Array(("N …",), "the samples")}
    postprocess: Reconstruction

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)
        self._binary = is_binary(spec)
        self._closed = spec.loss.vae.recon == losses_pb2.Vae.bce
        self.form = cast(generative.Reconstruction, losses_pb2.Vae.Recon.Name(spec.loss.vae.recon))
        """The likelihood of the samples."""

    def notes(self) -> list[str]:
        """Return how reconstructions are judged; see `TaskRunner.notes`."""
        why = "inputs in [0, 1] as probabilities" if self._binary else "inputs as real numbers"
        return [f"loss.vae.recon is {self.form}: it reconstructs {why}."]

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x, and as target what is reconstructed: x, in units where it is binary."""
        if not self._binary:
            return {"x": part.x, "target": part.x}
        x = self.postprocess.unscaled(part.x.double())
        near = (x > -_ROUNDING) & (x < 1 + _ROUNDING)
        return {"x": part.x, "target": torch.where(near, x.clamp(0, 1), x).float()}

    def loss_inputs(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Return what the loss takes of reconstruction, mean and log variance."""
        recon, mu, logvar = outputs
        return {
            "recon": recon.sigmoid() if self._closed else recon,
            "target": batch.target,
            "mu": mu,
            "logvar": logvar,
        }

    def accumulator(self, model: nn.Module) -> MetricAccumulator:
        """Begin an evaluation of a model."""
        return _Bound(self, network_of(model))

    def reconstructed(self, recon: Tensor) -> NDArray[np.float32]:
        """Return what the decoder gives in the data's units; where binary probabilities."""
        values = recon if self._binary else recon.to("cpu", torch.float64)
        samples: NDArray[np.float32] = (
            self.postprocess.of_reconstruction(values).cpu().float().numpy()
        )
        return samples

    def in_units(self, x: Tensor) -> NDArray[np.float32]:
        """Return samples in the data's units."""
        samples: NDArray[np.float32] = (
            self.postprocess.unscaled(x.to("cpu", torch.float64)).float().numpy()
        )
        return samples


def network_of(model: nn.Module) -> VariationalAutoencoder:
    """Find the autoencoder in a model."""
    return next(part for part in model.modules() if isinstance(part, VariationalAutoencoder))


class _Bound(MetricAccumulator):
    """Adds up the parts of the bound, with one code drawn for each sample."""

    def __init__(self, task: Vae, network: VariationalAutoencoder) -> None:
        self._task = task
        self._network = network
        self._loss = MeanLoss(task.criterion, task.evaluated_at_once)
        # Every evaluation draws the same noise.
        self._generator = torch.Generator().manual_seed(_SEED)
        self._noise = torch.empty(0, network.code)
        self._count = 0
        self._totals = np.zeros(2)
        self._sums = np.zeros((2, network.code))
        self._first: dict[str, NDArray[np.float32]] = {}

    def add(self, batch: Batch) -> None:
        network, task, count = self._network, self._task, len(batch)
        mu, logvar = network.encode(batch.x)
        noise = self._draw(count).to(mu.device)
        recon = network.decode(draw(mu, logvar, noise))
        inputs = task.loss_inputs((recon, mu, logvar), batch)
        likelihood = generative.reconstruction(inputs["recon"], batch.target, task.form)
        self._loss.add(inputs, count)
        self._totals += [
            float(likelihood.sum(dtype=torch.float64)),
            float(generative.gaussian_kl(mu, logvar).sum(dtype=torch.float64)),
        ]
        codes = mu.cpu().double().numpy()
        self._sums += [codes.sum(axis=0), np.square(codes).sum(axis=0)]
        self._count += count
        if not self._first:
            shown = slice(_NUM_SHOWN)
            again = network.decode(mu[shown])
            self._first = {
                "originals": task.in_units(batch.x)[shown],
                "again": task.reconstructed(again),
            }

    def _draw(self, count: int) -> Tensor:
        """Return the next samples' noise, which is the same however they are cut into batches."""
        while len(self._noise) < count:
            drawn = torch.randn(_NOISE_AT_ONCE, self._network.code, generator=self._generator)
            self._noise = torch.cat([self._noise, drawn])
        noise, self._noise = self._noise[:count], self._noise[count:]
        return noise

    def result(self) -> EvalResult:
        count = self._count
        reconstruction, kl = self._totals / count
        means = self._sums[0] / count
        active = int((self._sums[1] / count - np.square(means) > ACTIVE).sum())
        values = {
            "loss": self._loss.value,
            "reconstruction": float(reconstruction),
            "kl": float(kl),
            "elbo": -float(reconstruction + kl),
            "active_units": float(active),
        }
        network = self._network
        noise = torch.randn(_NUM_SAMPLES, network.code, generator=self._generator)
        device = next(network.parameters()).device
        samples = self._task.reconstructed(network.decode(noise.to(device)))
        warnings = () if active > most_collapsed(network.code) else (_collapsed(active, network),)
        return EvalResult(values, {**self._first, "samples": samples}, warnings=warnings)


def most_collapsed(code: int) -> int:
    """Return the active units up to which a code of so many numbers has collapsed."""
    return code // 10


def _collapsed(active: int, network: VariationalAutoencoder) -> Warning:
    return Warning(
        kind=Warning.CODE_COLLAPSED,
        field="loss.vae.beta",
        message=(
            f"{active} of the {network.code} latent dimensions are active: the latent code "
            "carries almost no information about the samples, and all reconstructions are alike "
            "(posterior collapse). Lower loss.vae.beta, or train longer or with a larger "
            "learning rate."
        ),
    )
