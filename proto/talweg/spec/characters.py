"""Control characters in text: found, escaped for the record, dropped for terminals.

A terminal takes them for orders: ESC may rename its window, move its cursor or write over what
stands there, and the characters from U+0080 to U+009F say the same in one character.
"""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Lines and tabs make free text readable, and order a terminal to do no more than that.
_CONTROL_BUT_LAYOUT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# A secret may hold any character, so all before the last @ counts.
_CREDENTIALS = re.compile(r".*(?:@|%40)", re.DOTALL)
_QUERY = re.compile(r"[?#].*", re.DOTALL)


def has_control(text: str, *, layout: bool = False) -> bool:
    """Tell whether a text holds control characters.

    Args:
        text: Any text.
        layout: Whether line feeds and tabs are allowed, as in free text.
    """
    pattern = _CONTROL_BUT_LAYOUT if layout else _CONTROL
    return pattern.search(text) is not None


def escape_control(text: str) -> str:
    r"""Write control characters other than line feeds and tabs out, such as ``\x1b`` for ESC."""
    return _CONTROL_BUT_LAYOUT.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def drop_control(text: str) -> str:
    """Leave control characters other than line feeds and tabs out."""
    return _CONTROL_BUT_LAYOUT.sub("", text)


def without_credentials(text: str) -> str:
    """Leave out what may be the credentials of a URI, also of one that is mistyped."""
    return _QUERY.sub("?…", _CREDENTIALS.sub("…@", text, count=1))
