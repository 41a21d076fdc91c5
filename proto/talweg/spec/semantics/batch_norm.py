"""Where a model normalises by its batch."""

from collections.abc import Iterator

from google.protobuf.message import Message

from talweg.spec.fields import fields
from talweg.spec.semantics.facts import model_facts
from talweg.spec.semantics.outputs import says
from talweg.v1.models_pb2 import Pretrained


def batch_norms(message: Message, path: str, *, of_vectors: bool = False) -> Iterator[str]:
    """Yield the path of each batch normalisation: `batch_norm`, `norm: batch`, a published resnet.

    Args:
        message: A filled model, or a part of one.
        path: Its own path.
        of_vectors: Leave out models of images, which normalise over positions too.
    """
    if of_vectors and model_facts(message.DESCRIPTOR).images:
        return
    if isinstance(message, Pretrained) and message.architecture == Pretrained.resnet:
        yield f"{path}.architecture"
    for name, field in fields(message.DESCRIPTOR).items():
        at = f"{path}.{name}"
        if name == "batch_norm" and message.HasField(name):
            value = getattr(message, name)
            if isinstance(value, Message) or value:
                yield at
        elif name == "norm" and says(message, name, "batch"):
            yield at
        elif field.is_map or field.descriptor.message_type is None:
            continue
        elif field.is_list:
            for index, part in enumerate(getattr(message, name)):
                yield from batch_norms(part, f"{at}[{index}]", of_vectors=of_vectors)
        elif message.HasField(name):
            yield from batch_norms(getattr(message, name), at, of_vectors=of_vectors)
