"""A console that writes no control characters but its own."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from talweg.spec import drop_control


class PlainTextConsole(Console):
    """Leaves control characters out of whatever text it is given.

    The server refuses or escapes them, but what it sends may come from an older record, or from
    somebody in between. rich takes their width for 0, so columns stay where they are.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, and clean all text; what rich itself tells the terminal stays."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(drop_control(segment.text), segment.style)
