"""What jobs of these tests find beside them: the same as in the tests of training."""

from tests.worker.training.conftest import _features, _one_thread

__all__ = ["_features", "_one_thread"]
