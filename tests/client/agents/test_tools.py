"""The tools of agents, called as an agent calls them."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client as Agent
from mcp.client.stdio import StdioServerParameters
from tests.client.faulty import FaultyServer

from talweg.client import Client, InvalidSpec, PermissionDenied, Unavailable
from talweg.client.agents.errors import as_data
from talweg.client.agents.server import _in_json, build

SPEC: dict[str, Any] = {
    "task": "regression",
    "dataset": "diabetes",
    "model": "mlp",
    "loss": "mse",
}
SWEEP: dict[str, Any] = {
    "base": {name: value for name, value in SPEC.items() if name != "loss"},
    "space": [{"path": "loss", "values": ["mse", "mae"]}],
    "compare": {"path": "loss", "margin": "1%", "final_seeds": 6},
}


def call(
    address: str, tool: str, arguments: dict[str, Any], folder: Path = Path("/nowhere")
) -> tuple[Any, bool]:
    """Call a tool in this process; return what it says, as data, and whether that is an error."""

    async def ask() -> tuple[Any, bool]:
        with Client(address) as client:
            async with Agent(build(client, folder)) as agent:
                result = await agent.call_tool(tool, arguments)
                return _data(result.content[0].text), bool(result.is_error)  # type: ignore[union-attr]

    return asyncio.run(ask())


def _data(text: str) -> Any:
    # An error begins with the name of its tool.
    begin = text.find("{") if text.startswith("Error") else 0
    return json.loads(text[begin:])


def test_arguments_that_a_tool_has_not_got_are_refused(faulty: FaultyServer) -> None:
    error, is_error = call(faulty.address, "list_jobs", {"filters": "loss = mse", "limit": "few"})
    assert is_error
    assert error["code"] == "INVALID_ARGUMENT"
    assert [(each["field"], each["hint"]) for each in error["violations"]] == [
        ("filters", "did you mean 'filter'?"),
        ("limit", ""),
    ]
    error, _ = call(faulty.address, "show", {})
    assert [(each["field"], each["found"]) for each in error["violations"]] == [
        ("name", "nothing")
    ]
    error, _ = call(faulty.address, "show", {"name": "nobody"})
    assert "no job and no sweep 'nobody'" in error["message"]


def test_a_job_is_checked_submitted_and_shown(faulty: FaultyServer) -> None:
    checked, is_error = call(faulty.address, "check", {"spec": SPEC})
    assert not is_error
    assert checked["spec"]["optimizer"]["adamw"]["learning_rate"] > 0
    assert "name" not in checked
    job, _ = call(faulty.address, "submit", {"spec": SPEC, "request_id": "agent"})
    again, _ = call(faulty.address, "submit", {"spec": SPEC, "request_id": "agent"})
    assert again["name"] == job["name"]
    shown, _ = call(faulty.address, "show", {"name": job["name"].removeprefix("jobs/")})
    assert shown["state"] == "QUEUED"
    listed, _ = call(faulty.address, "list_jobs", {"filter": "state = QUEUED"})
    assert [each["name"] for each in listed] == [job["name"]]
    waited, _ = call(faulty.address, "wait", {"name": job["name"], "seconds": 0})
    assert waited["state"] == "QUEUED"
    cancelled, _ = call(faulty.address, "cancel", {"name": job["name"], "reason": "enough"})
    assert cancelled["state"] == "CANCELLED"


def test_a_sweep_is_created_and_answers_provisionally(faulty: FaultyServer) -> None:
    checked, _ = call(faulty.address, "check", {"spec": SWEEP})
    assert (checked["num_trials"], checked["num_jobs"]) == (2, 14)
    sweep, is_error = call(faulty.address, "sweep", {"spec": SWEEP})
    assert not is_error
    answer, _ = call(faulty.address, "answer", {"sweep": sweep["name"]})
    assert answer["is_provisional"]
    assert answer["chosen"] == []
    cancelled, _ = call(faulty.address, "cancel", {"name": sweep["name"]})
    assert cancelled["name"] == sweep["name"]


def test_a_session_shows_its_budget_and_is_closed(faulty: FaultyServer) -> None:
    for loss in ("mse", "mae"):
        proposed, is_error = call(
            faulty.address,
            "propose",
            {"spec": {**SPEC, "loss": loss}, "session": "agent", "seeds": 2},
        )
        assert not is_error
        assert len(proposed["jobs"]) == 2
    sweep, _ = call(faulty.address, "sweep", {"spec": SWEEP, "session": "agent"})
    session, _ = call(faulty.address, "session", {"name": "agent"})
    assert [each["decision"] for each in session["answers"]] == ["NOT_DISTINGUISHABLE"] * 2
    assert session["spent"] == pytest.approx(sum(each["share"] for each in session["answers"]))
    assert session["left"] == pytest.approx(0.05 - session["spent"])
    assert "0 of the 10 pairs that the next look takes" in session["answers"][0]["text"]
    refused, is_error = call(faulty.address, "close_session", {"name": "agent"})
    assert is_error
    assert (refused["code"], refused["reason"]) == ("FAILED_PRECONDITION", "SESSION_STATE")
    for name in (*proposed["jobs"], sweep["name"]):
        call(faulty.address, "cancel", {"name": name})
    (listed,), _ = call(faulty.address, "list_sessions", {})
    assert (listed["state"], listed["num_answers"]) == ("OPEN", 2)


def test_of_a_proposal_that_is_refused_in_part_jobs_and_errors_are_told(
    faulty: FaultyServer,
) -> None:
    with Client(faulty.address) as client:
        num_open = sum(1 for _ in client.jobs(filter="state = QUEUED"))
        client.update_project("default", max_open_jobs=num_open + 2)
        arguments = {"spec": SPEC, "session": "part", "seeds": 3}
        proposed, is_error = call(faulty.address, "propose", arguments)
        client.update_project("default")
    assert not is_error
    assert len(proposed["jobs"]) == 2
    (refused,) = proposed["errors"]
    assert (refused["code"], refused["reason"]) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    # Waiting alone makes no room.
    assert not refused["retry"]


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "field"),
    [
        ("check", {"spec": {**SPEC, "loss": "msee"}}, "INVALID_ARGUMENT", "loss"),
        ("submit", {"spec": SWEEP}, "INVALID_ARGUMENT", "spec"),
        ("propose", {"spec": SWEEP, "session": "a"}, "INVALID_ARGUMENT", "spec"),
        ("propose", {"spec": SPEC, "session": "a", "seeds": 0}, "INVALID_ARGUMENT", "seeds"),
        (
            "propose",
            {"spec": {**SPEC, "split": {"validation": 0}}, "session": "a"},
            "INVALID_ARGUMENT",
            "split.validation",
        ),
        ("sweep", {"spec": {**SWEEP, "objective": "test/mae"}}, "INVALID_ARGUMENT", "objective"),
        ("show", {"name": "sweeps/none"}, "NOT_FOUND", ""),
        ("catalogue", {"kind": "losses", "name": "hubr"}, "NOT_FOUND", ""),
        ("add_data", {"path": "/nowhere.csv"}, "INVALID_ARGUMENT", ""),
        ("recommend", {"task": "regression", "facts": {"nosuch": 1}}, "INVALID_ARGUMENT", ""),
    ],
)
def test_errors_are_data(
    faulty: FaultyServer, tool: str, arguments: dict[str, Any], code: str, field: str
) -> None:
    data, is_error = call(faulty.address, tool, arguments)
    assert is_error
    assert data["code"] == code
    assert data["message"]
    if field:
        assert data["violations"][0]["field"].startswith(field)
        assert data["violations"][0]["allowed"]


def test_only_files_of_the_shared_folder_are_uploaded(
    faulty: FaultyServer, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    rows = "\n".join(["x,y", *(f"{index},{index * 2}" for index in range(20))])
    secret = tmp_path / "secret.csv"
    for path in (secret, shared / "mine.csv"):
        path.write_text(rows)
    (shared / "link.csv").symlink_to(secret)

    for name in (str(secret), "../secret.csv", "link.csv"):
        data, is_error = call(faulty.address, "add_data", {"path": name}, shared)
        assert is_error
        assert data["violations"][0]["field"] == "path"
        assert "--folder" in data["violations"][0]["hint"]
    named = {"dataset": {"file": {"path": str(secret), "target": "y"}}}
    job, sweep = {**SPEC, **named}, {**SWEEP, "base": {**SWEEP["base"], **named}}
    for tool, spec in (("check", job), ("submit", job), ("check", sweep), ("sweep", sweep)):
        data, is_error = call(faulty.address, tool, {"spec": spec}, shared)
        assert is_error
        assert data["violations"][0]["field"].endswith("dataset.file")
    assert call(faulty.address, "list_data", {})[0] == []

    stored, is_error = call(faulty.address, "add_data", {"path": "mine.csv"}, shared)
    assert not is_error
    assert stored["name"].startswith("datasets/mine@")


def test_numbers_that_json_lacks_are_text() -> None:
    data = {"last": float("nan"), "points": [(1, float("-inf")), (2, 0.5)]}
    assert _in_json(data) == {"last": "nan", "points": [[1, "-inf"], [2, 0.5]]}


def test_facts_do_not_stand_in_for_arguments(faulty: FaultyServer) -> None:
    data, is_error = call(
        faulty.address, "recommend", {"task": "regression", "facts": {"task": "binary"}}
    )
    assert is_error
    assert data["code"] == "INVALID_ARGUMENT"
    # As the description of the tool has it.
    facts = {"imbalance": 50, "outliers": 0.05}
    assert not call(faulty.address, "recommend", {"task": "binary", "facts": facts})[1]


def test_nothing_deletes_and_what_reads_says_so(faulty: FaultyServer, tmp_path: Path) -> None:
    async def list_tools() -> list[Any]:
        with Client(faulty.address) as client:
            async with Agent(build(client, tmp_path)) as agent:
                return list((await agent.list_tools()).tools)

    tools = asyncio.run(list_tools())
    names = {tool.name for tool in tools}
    assert not [name for name in names if "delete" in name or "remove" in name or "gc" in name]
    reading = {tool.name for tool in tools if tool.annotations.read_only_hint}
    assert {"submit", "sweep", "add_data", "cancel", "close_session"}.isdisjoint(reading)
    assert {"catalogue", "answer", "compare", "wait"} <= reading
    assert all(tool.annotations.destructive_hint is False for tool in tools)
    assert all(tool.description for tool in tools)


def test_the_command_speaks_over_standard_input(faulty: FaultyServer, tmp_path: Path) -> None:
    talweg = StdioServerParameters(
        command=sys.executable,
        args=["-m", "talweg.client.cli", "--address", faulty.address, "mcp"],
        cwd=tmp_path,
    )

    async def ask() -> str:
        async with Agent(talweg, mode="legacy") as agent:
            result = await agent.call_tool("catalogue", {"kind": "losses", "name": "huber"})
            return str(result.content[0].text)  # type: ignore[union-attr]

    assert json.loads(asyncio.run(ask()))["name"] == "huber"


def test_only_what_may_pass_is_worth_a_retry() -> None:
    assert as_data(Unavailable("away"))["retry"] is True
    assert as_data(InvalidSpec("wrong"))["retry"] is False


def test_a_caller_who_may_not_is_told_so() -> None:
    assert as_data(PermissionDenied("no"))["code"] == "PERMISSION_DENIED"
