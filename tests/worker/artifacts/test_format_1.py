"""Models that were saved in format 1 load, and predict what they did.

`format_1/CASE/` holds a model as the last release of that format wrote it, with some inputs and
its predictions of them; `format_1/blobs` is a blob store with a model that losses compare by.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from talweg.v1 import losses_pb2
from talweg.worker.artifacts import predictor
from talweg.worker.losses import features
from talweg.worker.models import saved
from talweg.worker.tasks import TASKS
from talweg.worker.tasks.common.postprocessing import read

FORMAT_1 = Path(__file__).parent / "format_1"
CASES = sorted(path.parent.name for path in FORMAT_1.glob("*/model.json"))


def stored(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of a convolution are divided among threads, and round as they are divided."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_same(found: Tensor, wanted: Tensor, cpu: str) -> None:
    """To the bit on the kind of processor that the file is from; others round in other places."""
    if cpu == torch.backends.cpu.get_cpu_capability():
        assert torch.equal(found, wanted)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_model_predicts_what_it_did(case: str) -> None:
    tensors, metadata = stored(FORMAT_1 / case / "predictions.safetensors")
    with torch.inference_mode():
        found = predictor.load(FORMAT_1 / case)(tensors["x"])
    assert_same(found, tensors["predictions"], metadata["cpu"])


@pytest.mark.parametrize("case", CASES)
def test_what_is_converted_is_written_and_read_again(case: str) -> None:
    description = saved.load(FORMAT_1 / case).description
    postprocessors = TASKS[description["task"]].predictions.POSTPROCESSORS
    postprocess = read(description["prediction"], postprocessors)
    assert read(postprocess.described(), postprocessors) == postprocess


def test_a_loss_compares_by_a_model_of_the_blob_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALWEG_BLOBS", str(FORMAT_1 / "blobs"))
    tensors, metadata = stored(FORMAT_1 / "blobs/jobs/features/features.safetensors")
    network = losses_pb2.FeatureNetwork(job=losses_pb2.JobModel(job="jobs/features"))
    compared = features.load(network, ("relu1", "relu2"))
    assert compared.digest == metadata["digest"]
    with torch.no_grad():
        for found, name in zip(compared(tensors["x"]), ("relu1", "relu2"), strict=True):
            assert_same(found, tensors[name], metadata["cpu"])
