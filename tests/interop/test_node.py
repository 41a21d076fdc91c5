"""A client in Node, from the .proto files and from the descriptor set."""

import json
import math
from typing import Any

import pytest
from tests.integration.stack import Stack
from tests.interop.tools import HERE, PROTO, needs_npm, run

import talweg.spec as spec
from talweg.server.parts import SERVICES

pytestmark = needs_npm


@pytest.mark.parametrize("source", ["protos", "descriptors"])
def test_a_session_of_a_client_in_node(stack: Stack, source: str) -> None:
    command = ["node", HERE / "client.js", source, PROTO, stack.address, f"node {source}"]
    answers = json.loads(run(command).stdout)
    assert answers["services"] == sorted(SERVICES)

    followed = answers["followed"]
    job = followed["job"]
    assert "name" not in followed["checked"]
    assert followed["checked"]["spec"] == job["spec"]
    assert followed["repeated"] == job["name"]
    assert job["state"] == "SUCCEEDED"
    assert job["spec"]["loss"]["huber"]["delta"] == 2
    assert job["spec"]["training"]["batch_size"] == 32
    cursors = [event["cursor"] for event in followed["events"]]
    assert cursors == list(range(1, job["last_cursor"] + 1))
    assert followed["events"][-1]["finished"]["state"] == "SUCCEEDED"
    events = [with_maps(event) for event in followed["events"]]
    assert [with_maps(event) for event in followed["rest"]] == events[followed["middle"] :]
    logged = ("state", "log", "warning", "guard", "finished")
    assert followed["logs"]["events"] == [
        event for event in followed["events"] if event["kind"] in logged
    ]

    first, second, third = answers["results"]
    assert (first["kind"], second["kind"], third["kind"]) == ("job", "error", "job")
    assert "loss.huber.delta: found -1" in second["error"]["message"]
    names = {job["name"], first["job"]["name"], third["job"]["name"]}
    assert {each["name"] for each in answers["listed"]["entries"]} == names
    assert answers["listed"]["count"] == 3

    mae = next(each for each in answers["summaries"] if each["name"] == "test/mae")
    assert math.isclose(mae["last"], job["result"]["value"])
    assert [point["step"] for point in answers["points"]["entries"]] == [9, 18, 27]
    groups = {group["labels"][0]: group["count"] for group in answers["compared"]["groups"]}
    assert groups == {"huber delta=2": 2, "mse": 1}

    control = answers["control"]
    assert control["paused"] == "PAUSED"
    assert (control["outcome"]["state"], control["outcome"]["cause"]) == (
        "CANCELLED",
        "CANCEL_REQUEST",
    )
    assert "enough" in control["outcome"]["message"]
    assert reason(control["ended"]) == ("FAILED_PRECONDITION", "JOB_ENDED")
    assert control["retry_of"] == control["name"]
    assert reason(control["deleted"]) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert answers["collected"]["jobs"] == []

    own = answers["data"]
    assert own["stored"]["name"] == own["again"]
    assert own["stored"]["name"] in own["listed"]
    assert own["stored"]["num_samples"] == 200
    assert own["spec"]["dataset"]["stored"]["digest"] == own["stored"]["digest"]
    assert own["outcome"]["state"] == "SUCCEEDED"
    assert "model/weights.safetensors" in own["files"]
    assert own["intact"] == [True] * len(own["files"])
    assert own["kept"]["code"] == "FAILED_PRECONDITION"

    catalogue = answers["catalogue"]
    for kind, entries in (
        ("losses", spec.losses("regression")),
        ("tasks", spec.tasks()),
        ("models", spec.models()),
        ("datasets", spec.datasets()),
        ("optimizers", spec.optimizers()),
    ):
        expected = [(entry.name, entry.description) for entry in entries]
        assert [(each["name"], each["description"]) for each in catalogue[kind]] == expected
    assert catalogue["recommended"][0]["loss"]["kind"] == "huber"

    status = answers["status"]
    works = {each["name"]: each.get("ok", False) for each in status["components"]}
    assert works["database"]
    assert works["broker"]
    assert [worker["queues"] for worker in status["workers"]] == [["default"]]
    assert [worker["queues"] for worker in status["listed"]] == [["default"]]
    assert reason(answers["unknown"]) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert reason(answers["reused"]) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert reason(answers["invalid"]) == ("INVALID_ARGUMENT", "INVALID_SPEC")
    (violation,) = answers["invalid"]["google.rpc.BadRequest"]["field_violations"]
    assert violation["field"] == "loss.huber.delta"


def with_maps(event: dict[str, Any]) -> dict[str, Any]:
    """Read the metrics of an event as a map, which a descriptor set has as a list."""
    values = event.get("metrics", {}).get("values")
    if not isinstance(values, list):
        return event
    pairs = {pair["key"]: pair["value"] for pair in values}
    return {**event, "metrics": {**event["metrics"], "values": pairs}}


def reason(error: dict[str, Any]) -> tuple[str, str]:
    return error["code"], error["google.rpc.ErrorInfo"]["reason"]
