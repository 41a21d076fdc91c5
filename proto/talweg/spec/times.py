"""How long something takes, as people write it: 90s, 30m, 1.5h, 2d or 4w."""

import re
from typing import Final

_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_TIME: Final = re.compile(rf"([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?) ?({'|'.join(_SECONDS)}|)")


def seconds_in(text: str, *, unit: str = "") -> float | None:
    """Return the seconds of a time such as 90s, 30m, 30 min, 1.5h, 2d or 4w; None if it is none.

    Args:
        text: The time.
        unit: That of a number alone; a number alone is no time where it is empty.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    seconds = _SECONDS.get(match[2] or unit)
    return None if seconds is None else float(match[1]) * seconds
