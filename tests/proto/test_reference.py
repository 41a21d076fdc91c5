"""The page of the API describes everything that a client can call."""

import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, ServiceDescriptor

from talweg.spec.catalogue import reference
from talweg.spec.catalogue.comments import comment
from talweg.v1 import artifacts_pb2, catalog_pb2, jobs_pb2, options_pb2, system_pb2, workers_pb2
from talweg.v1.losses_pb2 import Huber, Loss
from talweg.v1.spec_pb2 import JobSpec

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8")
SERVICES: list[ServiceDescriptor] = [
    service
    for file in (jobs_pb2, artifacts_pb2, system_pb2, catalog_pb2, workers_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]


def below(heading: str) -> str:
    """Return what stands below a heading, up to the next one."""
    (section,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", PAGE, re.M | re.S)
    return str(section)


def used(message: Descriptor, known: set[Descriptor]) -> set[Descriptor]:
    if message in known or not message.full_name.startswith("talweg."):
        return known
    known.add(message)
    for field in message.fields:
        if field.message_type is not None:
            used(field.message_type, known)
    return known


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_rpc_is_described(service: ServiceDescriptor) -> None:
    assert comment(service.full_name) in below(service.name)
    for method in service.methods:
        text = comment(method.full_name)
        assert text.endswith("."), f"{method.full_name} needs a comment"
        section = below(method.name)
        assert text in section
        assert ("Server streaming" in section) == method.server_streaming
        assert section.index(method.input_type.name) < section.rindex(method.output_type.name)


def test_every_field_of_every_message_is_described() -> None:
    of_specs = used(JobSpec.DESCRIPTOR, set())
    described: set[Descriptor] = set()
    for service in SERVICES:
        for method in service.methods:
            for message in (method.input_type, method.output_type):
                used(message, described)
    entries = {message for message in described if message.GetOptions().map_entry}
    described -= of_specs | entries
    assert len(described) > 70
    for message in described:
        section = below(message.full_name.removeprefix("talweg.v1."))
        rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.*) \|$", section, re.M)
        assert [name for name, _, _ in rows] == [field.name for field in message.fields]
        for field, (_, _, description) in zip(message.fields, rows, strict=True):
            text = comment(f"{message.full_name}.{field.name}").replace("*", "\\*")
            assert text.replace("|", "\\|") in description


def test_types_are_written_out() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", below("MetricSummary"), re.M))
    assert (rows["best"], rows["count"]) == ("optional double", "int64")
    assert rows["goal"] == "[`Goal`](#message-goal)"
    assert "map of string to double" in below("MetricPoint")
    assert "list of [`Job`](#message-job)" in below("ListJobsResponse")
    assert "[`JobSpec`](catalogue.md#job-file)" in below("SubmitJobRequest")
    assert "| `state` | [`StateChange`](#message-statechange) |" in below("Event")
    assert below("Event").count("oneof `kind`") == 8


def test_what_the_catalogue_describes_is_left_to_it() -> None:
    assert not {JobSpec.DESCRIPTOR, Loss.DESCRIPTOR, Huber.DESCRIPTOR} & set(reference.types())
    assert options_pb2.LossFacts.DESCRIPTOR in reference.types()
