"""Trained models predict in their users' terms, whatever a sample's shape is."""

import torch

from talweg import spec as specs
from talweg.worker import data, models
from talweg.worker.artifacts import predictor
from talweg.worker.models import saved


def test_a_generator_of_images_takes_noise_and_gives_samples_in_units() -> None:
    spec, violations, _ = specs.complete(
        specs.from_dict({
            "task": "gan",
            "dataset": "digits",
            "model": {"adversarial": {"generator": [4], "critic": [4], "noise": 3}},
            "loss": "gan",
        })
    )  # fmt: skip
    assert not violations
    bundle = data.load(spec)
    network = models.build(spec.model, bundle.inputs.shape, 1, seed=0)
    description = predictor.describe(spec, bundle)
    model = predictor.Predictor(saved.rebuild(description, network.state_dict()))
    noise = predictor.example(spec, bundle)
    with torch.inference_mode():
        samples, outputs = model(noise), network(noise)
    scaler = bundle.inputs.scaler
    assert scaler is not None
    wanted = outputs.flatten(1) * float(scaler.sd) + float(scaler.mean)
    assert samples.shape == (len(noise), 64)
    torch.testing.assert_close(samples, wanted)
