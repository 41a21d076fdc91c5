"""What a task's module `plots` offers."""

from collections.abc import Callable
from dataclasses import dataclass

from talweg.worker.tasks.common.plots.canvas import PlotData
from talweg.worker.tasks.common.plots.loss_curve import draw_loss_curve


@dataclass(frozen=True)
class TaskPlots:
    """What draws a task's pictures."""

    draw: Callable[[PlotData], None]
    """Draws what the task kept of the test data."""
    draw_losses: Callable[[PlotData], None] = draw_loss_curve
    """Draws the loss over steps."""
