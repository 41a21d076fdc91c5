"""`talweg status`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from talweg.client import JobState, Unavailable
from talweg.client._address import LocalStack, local_stack
from talweg.client._lines import duration
from talweg.client.cli._common import (
    STATE_STYLES,
    Session,
    console,
    json_option,
    print_json,
    say,
)
from talweg.client.cli._problems import UNREACHABLE
from talweg.client.cli.commands.system.local import check_disk, check_services, check_tracking
from talweg.spec.local.data_folder import TRACKING_TOKEN
from talweg.v1 import system_pb2

if TYPE_CHECKING:
    from rich.console import Console

_TROUBLE = 1


class _Row(NamedTuple):
    name: str
    remark: str
    problem: str = ""
    remedy: str = ""


@click.command()
@json_option
@click.pass_obj
def status(session: Session, as_json: bool) -> int:
    """Show what works, what does not, and what to do about it.

    It asks the server for its database, broker, workers and the delivery of results to MLflow. Of
    a stack on this machine it checks processes, disk and MLflow too. The exit status is 0 if all
    is well, 1 if a part is in trouble, and 4 if the server does not answer.
    """
    with session.client() as client:
        stack = local_stack(client.address)
        reached: system_pb2.GetStatusResponse | None = None
        try:
            reached = client.status()
        except Unavailable:
            problem = f"{client.address} does not answer"
            rows = [_Row("server", "", problem, _how_to_restart(stack))]
        else:
            rows = [_Row("server", f"{client.address}, version {reached.version}")]
            rows += [_row(component, reached) for component in reached.components]
    rows += _local_rows(stack)
    code = UNREACHABLE if reached is None else _TROUBLE if any(r.problem for r in rows) else 0
    if as_json:
        _print_json(rows, reached)
    else:
        _print(console(), rows, reached)
    return code


def _how_to_restart(stack: LocalStack | None) -> str:
    if stack is None:
        return "Start it with `talweg up` or `talweg server`, or correct the address."
    log = Path(stack.data) / "logs" / "server.log"
    return f"`talweg up` (process {stack.pid}) restarts it; the reason is in {log}."


def _row(component: system_pb2.Component, reached: system_pb2.GetStatusResponse) -> _Row:
    remark = ""
    if component.name == "workers" and reached.workers:
        busy = sum(bool(worker.jobs) for worker in reached.workers)
        remark = f"{len(reached.workers)} connected, {busy} running a job"
    elif component.name == "delivery":
        remark = _delivery_text(reached.delivery)
    return _Row(component.name, remark, component.problem, component.remedy)


def _delivery_text(delivery: system_pb2.Delivery) -> str:
    if not delivery.waiting:
        return "all results are in MLflow"
    one = delivery.waiting == 1
    text = f"{delivery.waiting} job{'' if one else 's'} still to be delivered to MLflow"
    if not delivery.HasField("seconds_left"):
        return text
    from datetime import timedelta

    # A slow rate and a large backlog may be more than a timedelta holds.
    left = duration(timedelta(seconds=min(delivery.seconds_left, 1e9)))
    return f"{text}, in about {left} ({delivery.per_second:.2g} per second)"


def _local_rows(stack: LocalStack | None) -> list[_Row]:
    if stack is None:
        return []
    rows = [_mlflow_row(stack)] if stack.tracking else []
    remark, problem, remedy = check_disk(Path(stack.data))
    rows.append(_Row("disk", remark, problem, remedy))
    problem, remedy = check_services(stack)
    rows.append(_Row("stack", f"process {stack.pid}, data in {stack.data}", problem, remedy))
    return rows


def _mlflow_row(stack: LocalStack) -> _Row:
    remark = stack.tracking
    if stack.pages:
        remark += "; `talweg open` opens it"
        if stack.needs_token:
            remark += f", programs need the token in {Path(stack.data) / TRACKING_TOKEN}"
    return _Row("MLflow", remark, *check_tracking(stack))


def _print(
    out: "Console", rows: Sequence[_Row], reached: system_pb2.GetStatusResponse | None
) -> None:
    from rich.table import Table
    from rich.text import Text

    lines: list[tuple[str, str, str]] = []
    for row in rows:
        lines.append((row.name, "trouble" if row.problem else "ok", row.problem or row.remark))
        if row.problem and row.remedy:
            lines.append(("", "to do", row.remedy))
    if reached is not None:
        counts = [f"{each.count} {JobState.of(each.state).lower()}" for each in reached.jobs]
        is_read = not any(row.name == "database" and row.problem for row in rows)
        none = "none running or waiting" if is_read else "not known"
        lines.append(("jobs", "", ", ".join(counts) or none))
    if not out.is_terminal:
        # Lines of a pipe or a file are not broken.
        for name, state, text in lines:
            say(f"{name:<8}  {state:<7}  {text}".rstrip())
        return
    styles = {"ok": STATE_STYLES[JobState.SUCCEEDED], "trouble": STATE_STYLES[JobState.FAILED]}
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, state, text in lines:
        table.add_row(Text(name), Text(state, style=styles.get(state, "bold")), Text(text))
    out.print(table)


def _print_json(rows: Sequence[_Row], reached: system_pb2.GetStatusResponse | None) -> None:
    from talweg.spec import to_dict

    parts = [
        {"name": r.name, "ok": not r.problem, "problem": r.problem, "remedy": r.remedy}
        for r in rows
    ]
    rest = to_dict(reached) if reached is not None else {}
    rest.pop("components", None)
    print_json({"components": parts, **rest})
