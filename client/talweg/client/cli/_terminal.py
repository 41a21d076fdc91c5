"""A console that prints only its own control characters."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from talweg.spec import drop_control


class PlainTextConsole(Console):
    """Removes control characters from all text.

    The server refuses or escapes them, but its data may come from an older record or from an
    attacker in between. rich counts their width as 0, so columns stay aligned.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, and clean all text; control sequences of rich itself stay."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(drop_control(segment.text), segment.style)
