"""Puts together what a replay has shown: the report for the record, and tables of all of it."""

import math
from collections.abc import Sequence
from typing import Literal

from talweg.v1.jobs_pb2 import GuardDecision
from talweg.v1.replay_pb2 import ReplayLayer, ReplayReport, ReplayRow
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.diagnostics.replay.steps import Findings, ReplaySteps
from talweg.worker.training.guard.policies import in_words
from talweg.worker.training.interface import Table

MOST_ROWS = 100
"""Rows in the report."""
MOST_LAYERS = 200
"""Layers in the report."""

_DONE = {
    GuardDecision.SKIPPED: "the step was skipped",
    GuardDecision.ROLLED_BACK: "training was rolled back to step {}",
}


def make_report(
    spec: JobSpec,
    steps: ReplaySteps,
    *,
    from_step: int,
    seconds: float,
    inexact: str,
    decision: GuardDecision | None,
) -> ReplayReport:
    """Return the report of a replay that is done.

    Args:
        spec: The replay's.
        steps: Has taken the step.
        from_step: The step of the state that was restored.
        seconds: How long it took.
        inexact: Why it need not be exact; empty where it is.
        decision: What the guard's policy decided about the step, where it did.
    """
    findings = steps.findings
    assert findings is not None
    report = ReplayReport(
        job=spec.replay.job,
        step=spec.replay.step,
        epoch=findings.epoch,
        from_step=from_step,
        seconds=seconds,
        inexact=inexact,
        loss=findings.reading.loss,
        gradient_norm=findings.reading.norm,
        learning_rate=findings.learning_rate,
        refused=_refused(findings, decision),
        measure=findings.losses.measure,
        num_rows=len(findings.rows),
        rows=_rows(findings)[:MOST_ROWS],
        layers=findings.probe.report(MOST_LAYERS),
        history=steps.history,
    )
    if findings.next_loss is not None:
        report.next_loss = findings.next_loss
    if findings.without is not None:
        report.without.CopyFrom(findings.without)
    return report


def _rows(findings: Findings) -> list[ReplayRow]:
    losses = findings.losses
    rows = []
    for index in losses.order:
        row = ReplayRow(
            row=findings.rows[index], sample=findings.samples[index], loss=losses.losses[index]
        )
        if index in losses.norms:
            row.gradient_norm = losses.norms[index]
        rows.append(row)
    return rows


def _refused(findings: Findings, decision: GuardDecision | None) -> str:
    if findings.divergence is not None:
        return f"{in_words(findings.divergence)}; training ended here"
    if decision is None or decision.action not in _DONE:
        return ""
    done = _DONE[decision.action].format(decision.to_step)
    return f"{in_words(decision.seen)}; {done}"


def tables(steps: ReplaySteps) -> dict[str, Table]:
    """Return all rows, layers and replayed steps, for MLflow, by the tables' names."""
    findings = steps.findings
    assert findings is not None
    rows, layers = _rows(findings), findings.probe.report(MOST_LAYERS)
    history = list(steps.history)
    return {
        "replay_rows": Table(
            {
                "row": [row.row for row in rows],
                "sample": [row.sample for row in rows],
                "loss": [_number(row.loss) for row in rows],
                "gradient_norm": [
                    _number(row.gradient_norm) if row.HasField("gradient_norm") else ""
                    for row in rows
                ],
            }
        ),
        "replay_layers": Table(_layer_columns(layers)),
        "replay_steps": Table(
            {
                "step": [each.step for each in history],
                "loss": [_number(each.loss) for each in history],
                "gradient_norm": [_number(each.gradient_norm) for each in history],
            }
        ),
    }


_OUTPUT_COLUMNS: tuple[Literal["output_mean", "output_sd", "output_max", "output_zeros"], ...] = (
    "output_mean",
    "output_sd",
    "output_max",
    "output_zeros",
)
_OTHER_COLUMNS = ("output_bad", "gradient_norm", "weight_norm", "update_norm")


def _layer_columns(layers: Sequence[ReplayLayer]) -> dict[str, list[float | str]]:
    columns: dict[str, list[float | str]] = {"layer": [layer.name for layer in layers]}
    for name in _OUTPUT_COLUMNS:
        columns[name] = [
            _number(getattr(layer, name)) if layer.HasField(name) else "" for layer in layers
        ]
    for other in _OTHER_COLUMNS:
        columns[other] = [_number(getattr(layer, other)) for layer in layers]
    return columns


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
