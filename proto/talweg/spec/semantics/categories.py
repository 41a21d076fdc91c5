"""Which models embed the categories of a table."""

from collections.abc import Iterator

from google.protobuf.message import Message

from talweg.spec.fields import fields
from talweg.spec.semantics.facts import chosen
from talweg.v1.models_pb2 import Categories, CategoryEmbedding, Model

_FIELD = "categories"
_TRUNK = "trunk"


def categories_in(model: Model, path: str = "model") -> Iterator[tuple[str, Categories]]:
    """Give what a model says of categories, itself or for its trunk, with where it stands."""
    name = chosen(model)
    if not name:
        return
    message, at = getattr(model, name), f"{path}.{name}"
    yield from _of(message, at)
    if _TRUNK in fields(message.DESCRIPTOR):
        trunk = message.trunk
        if name := chosen(trunk):
            yield from _of(getattr(trunk, name), f"{at}.{_TRUNK}.{name}")


def _of(message: Message, at: str) -> Iterator[tuple[str, Categories]]:
    if _FIELD in fields(message.DESCRIPTOR) and message.HasField(_FIELD):
        yield f"{at}.{_FIELD}", message.categories  # type: ignore[attr-defined]


def category_embedding(model: Model) -> CategoryEmbedding | None:
    """Give how a model embeds categories; None where it takes them one-hot."""
    for _, categories in categories_in(model):
        if chosen(categories) == "embedding":
            return categories.embedding
    return None
