"""What jobs of these tests find beside them."""

from collections.abc import Iterator

import pytest
import torch
from tests.worker.training.feature_models import write_features


@pytest.fixture(autouse=True, scope="session")
def _features(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("blobs")
    write_features(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALWEG_BLOBS", str(folder))
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    # As many as a run has; more only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
