"""How much of something each caller has, which may be so much at the most."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from talweg.server.errors import ServerError

Key = TypeVar("Key", bound=Hashable)


class Shares(Generic[Key]):
    """Counts by callers. For the event loop's thread alone."""

    def __init__(self, most: int) -> None:
        """Begin with nothing taken.

        Args:
            most: How much one caller may have at once.
        """
        self.most = most
        """How much one caller may have at once."""
        self._taken: Counter[Key] = Counter()

    @property
    def total(self) -> int:
        """How much all callers have."""
        return self._taken.total()

    @contextmanager
    def one(self, key: Key, refusal: Callable[[], ServerError]) -> Iterator[None]:
        """Count one as long as it lasts.

        Args:
            key: Whose it is; equal keys are one caller.
            refusal: Makes the error where the caller has as much as it may.

        Raises:
            ServerError: What `refusal` made.
        """
        if self._taken[key] >= self.most:
            raise refusal()
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                # Callers come and go.
                del self._taken[key]
