"""`talweg show`."""

from typing import TYPE_CHECKING

import click

from talweg.client import Job, JobMetrics, JobState
from talweg.client._lines import duration, epoch_text, number
from talweg.client.cli._common import (
    WARNING_STYLE,
    Session,
    ago,
    console,
    job_json,
    json_option,
    moment,
    print_json,
    say,
    state_text,
)
from talweg.client.cli._pages import link_shown
from talweg.client.cli._targets import find_target, target_json
from talweg.client.cli.commands.jobs import result_text
from talweg.client.cli.commands.replay import print_replay
from talweg.client.cli.commands.sweeps.showing import print_sweep
from talweg.client.cli.completions import complete_targets
from talweg.v1 import jobs_pb2

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@click.command()
@click.argument("target", metavar="JOB|SWEEP", shell_complete=complete_targets)
@json_option
@click.pass_obj
def show(session: Session, target: str, as_json: bool) -> None:
    """Show a job: state, outcome, metrics, warnings and spec; or a sweep with its best trials."""
    with session.client() as client:
        shown = find_target(client, target)
        if isinstance(shown, Job):
            _show_job(shown, shown.metrics(), as_json=as_json)
        elif as_json:
            print_json(target_json(shown))
        else:
            print_sweep(shown, console())


def _show_job(shown: Job, metrics: JobMetrics, *, as_json: bool) -> None:
    from talweg.spec import to_dict, to_yaml

    if as_json:
        summaries = {name: to_dict(summary) for name, summary in metrics.summaries.items()}
        print_json({**job_json(shown), "metrics": summaries})
        return
    out = console()
    _print_facts(out, shown)
    _print_outcome(out, shown.outcome)
    _print_weights(out, shown.message)
    if shown.replayed is not None:
        out.print()
        print_replay(out, shown.replayed)
    for warning in shown.warnings:
        place = f"{warning.field}: " if warning.field else ""
        out.print(f"warning: {place}{warning.message}", style=WARNING_STYLE, markup=False)
    _print_metrics(out, metrics)
    out.print("\n[bold]Spec[/]")
    say(to_yaml(shown.spec), end="")
    # Last, where it is at hand after a long spec.
    if url := shown.message.tracking.url:
        say(f"\nMLflow: {link_shown(url)}")
    tracking = shown.message.tracking
    if tracking.missing:
        say(f"Missing in MLflow: {tracking.missing}")
    if tracking.left_out:
        say(f"Left out: {tracking.left_out}")
    if tracking.deleted:
        say("The run was deleted in MLflow before all results had arrived.")


def _print_facts(out: "Console", job: Job) -> None:
    from rich.table import Table
    from rich.text import Text

    from talweg.spec import display_name

    message = job.message
    progress = message.progress
    facts: list[tuple[str, str]] = [
        ("experiment", message.spec.experiment),
        ("data from", message.spec.dataset.stored.facts.source_uri),
        ("submitted", ago(message.create_time)),
        ("waiting", message.waiting_reason if job.state is JobState.QUEUED else ""),
        ("worker", message.worker),
        ("attempt", str(message.attempt) if message.attempt > 1 else ""),
        ("result", result_text(job)),
        ("ended", _ended(message)),
        ("duration", _took(message)),
        ("retry of", message.retry_of),
        ("tags", ", ".join(f"{key}={text}" for key, text in sorted(message.spec.tags.items()))),
    ]
    if not job.state.is_final and progress.total_steps:
        facts.append(("step", f"{progress.step} of {progress.total_steps}"))
        facts.append(("epoch", epoch_text(progress, is_running=True)))
    if message.cancel_requested and not job.state.is_final:
        facts.append(("cancel requested", "yes"))
    out.print(
        Text(job.name, style="bold"), state_text(job.state), Text(display_name(message.spec))
    )
    grid = Table.grid(padding=(0, 2, 0, 0))
    for title, text in facts:
        if text:
            grid.add_row(Text(title, style="dim"), Text(text, overflow="fold"))
    out.print(grid)


def _ended(message: jobs_pb2.Job) -> str:
    """Say when training ended, if early, and which weights were kept."""
    outcome, progress = message.outcome, message.progress
    if not message.HasField("outcome") or outcome.state != jobs_pb2.Job.SUCCEEDED:
        return ""
    parts = []
    if 0 < progress.step < progress.total_steps:
        early = f"stopped early at step {progress.step} of {progress.total_steps}"
        if progress.total_epochs:
            early += f", epoch {progress.epoch} of {progress.total_epochs}"
        parts.append(early)
    if outcome.weights_step and (parts or outcome.weights_step != progress.step):
        parts.append(f"weights of step {outcome.weights_step}")
    return "; ".join(parts)


def _took(message: jobs_pb2.Job) -> str:
    if not message.HasField("end_time") or not message.HasField("start_time"):
        return ""
    return duration(moment(message.end_time) - moment(message.start_time))


def _print_outcome(out: "Console", outcome: jobs_pb2.Outcome | None) -> None:
    if outcome is None or (outcome.state == jobs_pb2.Job.SUCCEEDED and not outcome.message):
        return
    cause = jobs_pb2.Outcome.Cause.Name(outcome.cause) if outcome.cause else ""
    out.print()
    out.print(f"{cause + ': ' if cause else ''}{outcome.message}", style="bold", markup=False)
    if outcome.HasField("divergence"):
        _print_divergence(out, outcome)


def _print_weights(out: "Console", message: jobs_pb2.Job) -> None:
    """Say what the job has taken of its starting weights."""
    from talweg.spec import weights_lines

    if not message.HasField("taken_weights"):
        return
    out.print()
    for line in weights_lines(message.taken_weights):
        out.print(line, markup=False, highlight=False)


def _print_divergence(out: "Console", outcome: jobs_pb2.Outcome) -> None:
    from talweg.spec import divergence_lines

    divergence = outcome.divergence
    lines = [line for line in divergence_lines(divergence) if line not in outcome.message]
    out.print("\n".join(lines), markup=False)
    num_points = max(len(divergence.losses), len(divergence.gradient_norms))
    if not num_points:
        return
    table = _table("BEFORE STEP", "LOSS", "GRADIENT NORM")
    losses = [""] * (num_points - len(divergence.losses)) + [
        number(value) for value in divergence.losses
    ]
    norms = [""] * (num_points - len(divergence.gradient_norms))
    norms += [number(value) for value in divergence.gradient_norms]
    for index, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        table.add_row(str(index - num_points), loss, norm)
    out.print(table)


def _print_metrics(out: "Console", metrics: JobMetrics) -> None:
    if not metrics.summaries:
        return
    table = _table("METRIC", "FIRST", "LAST", "BEST", "AT STEP", "VALUES")
    for name, summary in sorted(metrics.summaries.items()):
        has_best = summary.HasField("best")
        table.add_row(
            name,
            number(summary.first),
            number(summary.last),
            number(summary.best) if has_best else "",
            str(summary.best_step) if has_best else "",
            str(summary.count),
        )
    out.print()
    out.print(table)


def _table(first: str, *others: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first)
    for column in others:
        table.add_column(column, justify="right")
    return table
