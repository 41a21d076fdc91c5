"""The examples of docs/api.md run as they stand there."""

import re
import sys
from itertools import islice
from pathlib import Path

import pytest
from tests.integration.stack import Stack
from tests.interop.tools import ROOT, needs_grpcurl, needs_npm, run

PAGE = (ROOT / "docs/api.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:7070"


def example(heading: str, language: str, stack: Stack, job: str = "") -> str:
    """Return the code below a heading, for the address of a stack and the name of a job."""
    section = PAGE.split(f"\n### {heading}\n", 1)[1].split("\n##", 1)[0]
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.M | re.S)
    assert ADDRESS in code
    return str(code).replace(ADDRESS, stack.address).replace("jobs/ID", job)


def shell(code: str) -> str:
    return run(["bash", "-euo", "pipefail", "-c", code]).stdout


@needs_grpcurl
def test_the_example_of_grpcurl(stack: Stack, finished: str) -> None:
    output = shell(example("grpcurl", "console", stack, finished))
    assert "talweg.v1.JobService.SubmitJob" in output
    assert '"name": "jobs/' in output
    assert '"finished"' in output


@needs_npm
def test_the_example_of_buf(stack: Stack, finished: str) -> None:
    output = shell(example("buf", "console", stack, finished))
    assert "talweg.v1.JobService/SubmitJob" in output
    assert f'"name": "{finished}"' in output
    assert '"test/mae"' in output


@needs_npm
def test_the_example_of_node(stack: Stack, tmp_path: Path) -> None:
    script = tmp_path / "example.js"
    script.write_text(example("Node", "js", stack))
    output = run(["node", script]).stdout
    assert output.startswith("1 state {")
    assert " finished { state: 'SUCCEEDED'" in re.sub(r"\s+", " ", output)


@pytest.mark.usefixtures("finished")
def test_the_example_of_python(stack: Stack) -> None:
    code = example("Python, by reflection", "python", stack)
    printed = [line.split()[0] for line in run([sys.executable, "-c", code]).stdout.splitlines()]
    with stack.client() as client:
        latest = [job.name for job in islice(client.jobs(), 10)]
    assert latest
    assert printed == latest
