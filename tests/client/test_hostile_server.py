"""A server that sends orders for terminals: no command passes one on."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from tests.client.samples import sample

from talweg.client import Client
from talweg.client.cli import _problems, follow
from talweg.client.cli._root import run
from talweg.client.cli._terminal import PlainTextConsole
from talweg.spec import fill, from_dict, has_control
from talweg.v1 import jobs_pb2 as pb
from talweg.v1.jobs_pb2_grpc import JobServiceServicer, add_JobServiceServicer_to_server

ORDER = "\x1b]0;mine\x07\x1b[2J\x9b2J\x7f\r"
TEXT = f"all is{ORDER} well"
NAME = "jobs/a"


def poison(message: Message) -> None:
    """Put the order into every text of a message."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            if field.is_repeated or message.HasField(field.name):
                value = getattr(message, field.name)
                for item in value if field.is_repeated else (value,):
                    if isinstance(item, Message):
                        poison(item)
        elif field.type == FieldDescriptor.TYPE_STRING:
            if field.is_repeated:
                getattr(message, field.name)[:] = [TEXT]
            else:
                setattr(message, field.name, TEXT)


def hostile_job() -> pb.Job:
    job = pb.Job(state=pb.Job.FAILED, attempt=2, cancel_requested=True)
    job.outcome.state, job.outcome.cause = pb.Job.FAILED, pb.Outcome.NOT_FINITE
    job.outcome.divergence.losses.append(1.0)
    job.warnings.add(kind=pb.Warning.DEAD_UNITS)
    job.checkpoints.add(step=1)
    for part in (job.tracking, job.create_time, job.progress):
        part.SetInParent()
    poison(job)
    job.name = NAME
    job.spec.CopyFrom(fill(from_dict(sample())))
    job.spec.display_name = job.spec.experiment = job.spec.tags["note"] = TEXT
    return job


def hostile_events() -> list[pb.Event]:
    events = [
        pb.Event(state=pb.StateChange(state=pb.Job.RUNNING)),
        pb.Event(log=pb.LogLine(level=pb.LogLine.ERROR)),
        pb.Event(warning=pb.Warning(kind=pb.Warning.DEAD_UNITS)),
        pb.Event(metrics=pb.MetricPoint(step=1, values={TEXT: 1.0})),
        pb.Event(finished=pb.Outcome(state=pb.Job.FAILED)),
    ]
    for number, event in enumerate(events, start=1):
        poison(event)
        event.cursor = number
    return events


class Hostile(JobServiceServicer):
    def GetJob(self, request: Any, context: Any) -> pb.Job:
        return hostile_job()

    def ListJobs(self, request: Any, context: Any) -> pb.ListJobsResponse:
        return pb.ListJobsResponse(jobs=[hostile_job()])

    def WatchJob(self, request: Any, context: Any) -> Iterator[pb.WatchJobResponse]:
        for event in hostile_events():
            yield pb.WatchJobResponse(event=event)

    def GetJobMetrics(self, request: Any, context: Any) -> pb.GetJobMetricsResponse:
        return pb.GetJobMetricsResponse(summaries=[pb.MetricSummary(name=TEXT, last=1.0)])

    def CompareJobs(self, request: Any, context: Any) -> pb.CompareJobsResponse:
        response = pb.CompareJobsResponse()
        response.groups.add(count=1, mean=1.0).rows.add(job=NAME, state=pb.Job.FAILED, value=1.0)
        poison(response)
        response.groups[0].rows[0].job = NAME
        return response

    def CancelJob(self, request: Any, context: Any) -> pb.Job:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, TEXT)
        raise AssertionError


@pytest.fixture
def address() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(8))
    add_JobServiceServicer_to_server(Hostile(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize(
    "command",
    [
        ["show", "a"],
        ["jobs"],
        ["watch", "a"],
        ["compare", "a"],
        ["cancel", "a"],
    ],
    ids=" ".join,
)
def test_nothing_is_printed_that_a_terminal_would_obey(
    command: list[str],
    address: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(["--address", address, *command])
    captured = capsys.readouterr()
    printed = captured.out + captured.err
    assert "Traceback" not in printed
    # The words are there, and nothing else of it.
    assert "all is" in printed
    assert not has_control(printed, layout=True)


@pytest.mark.parametrize("command", [["show", "a"], ["jobs"], ["watch", "a"], ["compare", "a"]])
def test_json_escapes_it(
    command: list[str], address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["--address", address, *command, "--json"])
    out = capsys.readouterr().out
    assert not has_control(out, layout=True)
    values = (
        [json.loads(line) for line in out.splitlines()]
        if "watch" in command
        else [json.loads(out)]
    )
    assert any(TEXT in json.dumps(value, ensure_ascii=True) or _holds(value) for value in values)


def _holds(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds, (*value, *value.values())))
    if isinstance(value, list):
        return any(map(_holds, value))
    return bool(value == TEXT)


def test_a_console_of_the_callers_gets_none_either(address: str) -> None:
    for is_terminal in (False, True):
        written = io.StringIO()
        console = Console(file=written, force_terminal=is_terminal, color_system=None, width=120)
        with Client(address) as client:
            assert not follow(client, [client.job("a")], console=console)
        for order in ("\x1b]0;", "\x07", "\x1b[2J", "\x9b", "\x7f"):
            assert order not in written.getvalue()
        assert "all is" in written.getvalue()


def test_the_console_keeps_its_own_orders_and_its_columns() -> None:
    written = io.StringIO()
    console = PlainTextConsole(
        file=written, force_terminal=True, width=40, color_system="standard", highlight=False
    )
    table = Table(box=None, show_header=False, padding=0)
    table.add_row(Text(f"a{ORDER}b"), Text("|"))
    table.add_row(Text("ab"), Text("|"))
    with Live(table, console=console, auto_refresh=False):
        console.print(f"red{ORDER}", style="red", markup=False)
    text = written.getvalue()
    assert "\x1b[31mred]0;mine[2J2J\x1b[0m" in text
    assert "a]0;mine[2J2Jb|\nab            |" in text
    assert "\x1b[?25l" in text
    assert not any(order in text for order in ("\x1b]", "\x07", "\x9b", "\x7f"))


class Noisy:
    def __repr__(self) -> str:
        return TEXT


def test_a_defect_is_told_without_orders(capsys: pytest.CaptureFixture[str]) -> None:
    assert _problems.report(KeyError(Noisy())) == _problems.SERVER
    _problems.tell(RuntimeError(TEXT), about=TEXT)
    err = capsys.readouterr().err
    assert "KeyError" in err
    assert not has_control(err, layout=True)


def test_all_is_printed_by_the_functions_that_clean_it() -> None:
    folder = Path(_problems.__file__).parent
    cleaning = {folder / "_common.py", folder / "_terminal.py"}
    paths = set(folder.rglob("*.py"))
    assert cleaning | {folder / "commands/show.py", folder / "commands/system/workers.py"} <= paths
    for path in sorted(paths - cleaning):
        text = path.read_text()
        for call in ("click.echo(", "click.secho(", " print(", "sys.stdout.write", "Console("):
            assert call not in text, f"{path.relative_to(folder)}: {call}"
