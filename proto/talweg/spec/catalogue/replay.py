"""What a replay has shown, in lines for people."""

from talweg.spec.errors import number_text
from talweg.v1.replay_pb2 import ReplayReport, ReplayWithout

_MOST_NAMED = 8


def replay_lines(report: ReplayReport) -> list[str]:
    """Say which step was replayed from where, and what it was; rows and layers are for tables."""
    start = f"the checkpoint of step {report.from_step}"
    if not report.from_step:
        start = "the initial state"
    lines = [
        f"step {report.step} of {report.job.removeprefix('jobs/')}, in epoch {report.epoch}, "
        f"replayed from {start} in {report.seconds:.2g} s",
        f"loss {_short(report.loss)}, gradient norm {_short(report.gradient_norm)}, learning rate "
        f"{number_text(report.learning_rate)}{_next(report)}",
    ]
    if report.inexact:
        lines.append(f"not exact: {report.inexact}")
    if report.refused:
        lines.append(f"the guard refused the step: {report.refused}")
    if report.HasField("without"):
        without = report.without
        rows = ", ".join(map(str, without.rows[:_MOST_NAMED]))
        if len(without.rows) > _MOST_NAMED:
            rows += f" and {len(without.rows) - _MOST_NAMED} more"
        lines.append(
            f"without row{'s' if len(without.rows) > 1 else ''} {rows}: loss "
            f"{_short(without.loss)}, gradient norm {_short(without.gradient_norm)}"
            f"{_next(without)}"
        )
    return lines


def _next(part: ReplayReport | ReplayWithout) -> str:
    has_next = part.HasField("next_loss")
    return f"; loss of the next step {_short(part.next_loss)}" if has_next else ""


def _short(value: float) -> str:
    return f"{value:.6g}"
