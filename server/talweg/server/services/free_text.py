"""Free text from workers, such as log lines, messages and hints.

It is for people, and holds what a user's code or a library has said. Control characters in it are
written out here, before it goes into the record, so that nobody's terminal obeys them.
"""

from typing import TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from talweg.spec import escape_control, has_control

M = TypeVar("M", bound=Message)


def readable(message: M) -> M:
    """Return a message whose texts hold no control characters but line feeds and tabs.

    The keys of maps are names and not looked at.

    Args:
        message: Any message; it stays as it is.
    """
    if not _needs_escapes(message):
        return message
    escaped = type(message)()
    escaped.CopyFrom(message)
    _escape(escaped)
    return escaped


def _needs_escapes(message: Message) -> bool:
    for field, value in message.ListFields():
        items = value if field.is_repeated else (value,)
        if field.type == FieldDescriptor.TYPE_STRING:
            if any(has_control(text, layout=True) for text in items):
                return True
        elif _holds_messages(field) and any(map(_needs_escapes, items)):
            return True
    return False


def _escape(message: Message) -> None:
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_STRING:
            if field.is_repeated:
                value[:] = map(escape_control, value)
            else:
                setattr(message, field.name, escape_control(value))
        elif _holds_messages(field):
            for item in value if field.is_repeated else (value,):
                _escape(item)


def _holds_messages(field: FieldDescriptor) -> bool:
    if field.message_type is None:
        return False
    # Iterating over a map gives its keys.
    return not field.message_type.GetOptions().map_entry
