"""Sessions by the client and on the command line."""

from pathlib import Path

import pytest
import yaml
from tests.client.commands import Talweg
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client, FailedPrecondition, NotFound, SessionDecision
from talweg.v1.jobs_pb2 import Job


def test_a_job_file_begins_a_session_and_the_client_reads_and_closes_it(
    talweg: Talweg, client: Client, worker: Worker, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="it begins with the first job or sweep"):
        client.session("files")
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({"session": "files", **sample()}))
    assert talweg("submit", file).status == 0
    assert talweg("submit", file, "--set", "loss=mae").status == 0
    session = client.session("files")
    (answer,) = session.answers()
    assert (answer.label, answer.baseline) == ("loss=mae", "mse")
    assert answer.decision is SessionDecision.NOT_DISTINGUISHABLE
    assert str(answer).startswith("not distinguishable: loss=mae from mse, 0 of the 10 pairs")
    with pytest.raises(FailedPrecondition):
        session.close()
    assert talweg("session", "close", "files").status == 6
    for _ in range(2):
        worker.claim().finish(Job.DIVERGED, message="no luck", metrics={})
    done = talweg("session", "close", "files")
    # Nothing was kept that could be tested.
    closed = client.session("files")
    assert (done.status, closed.state, closed.message.num_failed_tests) == (0, "CLOSED", 0)
    assert done.out.startswith("files  CLOSED: 1 answer, 0.00455 of an error of 0.05 spent")
    shown = talweg("session", "show", "files", "--json").json
    assert shown["answers"][0]["decision"] == "NOT_DISTINGUISHABLE"
    assert [each["name"] for each in talweg("sessions", "--json").json] == ["sessions/files"]
    assert "it was closed" in talweg("submit", file).err
