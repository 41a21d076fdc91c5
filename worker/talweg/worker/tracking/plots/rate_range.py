"""The picture of a learning-rate range test."""

from talweg.worker.tasks.common.plots.canvas import TEST, TRAIN, VALIDATION, figure_of, save
from talweg.worker.tracking.plots.diagnosis import Diagnosis


def draw_rate_range(diagnosis: Diagnosis) -> None:
    """Draw the loss over the rate, with the suggested rate and the job's own.

    Args:
        diagnosis: Rate, loss and smoothed loss; the job's rate, and the suggested one where there
            is one.
    """
    columns, facts = diagnosis.columns, diagnosis.facts
    figure, axes = figure_of(5)
    axes.plot(columns["rate"], columns["loss"], color=TRAIN, lw=0.8, label="training batch")
    axes.plot(columns["rate"], columns["smoothed"], color=TEST, lw=1.8, label="smoothed")
    if "suggested" in facts:
        text = f"suggested {facts['suggested']:.3g}"
        axes.axvline(facts["suggested"], color=VALIDATION, lw=1.5, label=text)
    axes.axvline(
        facts["rate"], color="0.3", lw=1.2, ls="--", label=f"the job's {facts['rate']:.3g}"
    )
    axes.set_xscale("log")
    axes.set_title(f"Learning rate range test: {diagnosis.title}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    save(figure, diagnosis.picture())
