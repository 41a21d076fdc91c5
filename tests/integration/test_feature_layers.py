"""Two jobs: one trains a network, and the other compares images by its features."""

import mlflow
import pytest
import torch
from tests._parts import wait_until
from tests.integration.examples import EXAMPLES, Ran, assert_unwarned
from tests.integration.stack import Stack

from talweg.client import Client, InvalidSpec, read_jobs
from talweg.spec import parse, to_yaml
from talweg.worker.tasks.image_translation.task import psnr

ALL_LEARNED = "all layers, learned"


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_scene_is_learnt_by_the_features_of_a_network_that_was_trained_before(
    stack: Stack,
) -> None:
    (spec,) = (
        each
        for each in read_jobs(EXAMPLES / "feature_layers.yaml")
        if each.display_name == ALL_LEARNED and each.training.seed == 0
    )
    spec.dataset.digit_scenes.num_samples = 240
    spec.training.epochs = 5
    mlflow.set_tracking_uri(stack.tracking)
    with Client(stack.address) as client:
        with pytest.raises(InvalidSpec, match="found jobs/ID; allowed a job that exists"):
            client.submit(spec)
        network = client.submit(EXAMPLES / "feature_network.yaml")
        assert network.wait(720).result().metrics["test/accuracy"] > 0.9
        assert_unwarned(network)
        # As the file says: by the job's name in the place of jobs/ID.
        job = client.submit(parse(to_yaml(spec).replace("jobs/ID", network.name)))
        result = job.wait(720).result()
        wait_until(lambda: job.refresh().message.tracking.complete, timeout=120, what="delivered")
        ran = Ran(job.spec, dict(result.metrics), job.message.tracking.run_id)
        digest = network.refresh().message.outcome.model_sha256
    assert ran.spec.loss.perceptual.network.job.sha256 == digest
    parameters = mlflow.get_run(ran.run_id).data.params
    assert parameters["loss.perceptual.network.job.sha256"] == digest
    assert len(parameters["loss.perceptual.network.tensors_sha256"]) == 64
    # Above the scene as it came, and the mean of the clean scenes.
    scaler = ran.bundle.inputs.scaler
    assert scaler is not None
    target = ran.bundle.test.arrays["image"]
    noisy = torch.from_numpy(scaler.unscale(ran.bundle.test.x.double().numpy()))
    mean = ran.bundle.train.arrays["image"].mean(dim=0).expand_as(target)
    baselines = [float(psnr(answer, target).mean()) for answer in (noisy, mean)]
    assert ran.metrics["test/psnr"] > 1 + max(baselines)
    # All begin at 1, and the deep layer's errors are the largest.
    early, deep = (ran.metrics[f"weights/relu{number}"] for number in (1, 3))
    assert early > 1.02
    assert early > 1.02 * deep
    assert ran.plots == {"loss_curve", "images", "layer_weights"}
    assert ran.predicts()[1:] == (1, 64, 64)
