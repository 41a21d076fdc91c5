"""One thread for the small tensors of these tests, and the networks that their losses name."""

from collections.abc import Iterator

import pytest
import torch
from tests.worker.losses import named_perceptual


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    # More threads only wait for each other.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("models")
    named_perceptual.write_model(folder / named_perceptual.NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALWEG_MODELS_DIR", str(folder))
        yield
