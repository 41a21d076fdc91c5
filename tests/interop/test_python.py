"""A client in Python that learns the API by reflection, with nothing of ours imported."""

import subprocess
import sys
from pathlib import Path

from tests.integration.stack import Stack


def test_a_client_of_reflection_alone_uploads_trains_and_downloads(stack: Stack) -> None:
    script = Path(__file__).with_name("reflection_client.py")
    done = subprocess.run(
        [sys.executable, str(script), stack.address], capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stderr
    name, state, num_bytes = done.stdout.split()
    assert name.startswith("jobs/")
    assert state == "SUCCEEDED"
    assert int(num_bytes) > 100
