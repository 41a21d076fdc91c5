import inspect
import json
import os
import subprocess
import sys

import pytest

import talweg.client
import talweg.client.cli

NAMES = {
    "AlreadyExists",
    "Answer",
    "Artifact",
    "AsyncClient",
    "AsyncComparison",
    "AsyncJob",
    "AsyncSession",
    "AsyncStoredDataset",
    "AsyncSweep",
    "AsyncSweepAnswer",
    "BatchError",
    "Client",
    "Comparison",
    "ComparisonGroup",
    "ComparisonRow",
    "FailedPrecondition",
    "Goal",
    "InvalidRequest",
    "InvalidSpec",
    "Job",
    "JobFailed",
    "JobMetrics",
    "JobResult",
    "JobState",
    "MissingExtra",
    "NotFound",
    "PermissionDenied",
    "ProposalAnswer",
    "RegisteredModel",
    "ResourceExhausted",
    "ServerError",
    "Session",
    "SessionDecision",
    "SpecLike",
    "StoredDataset",
    "Sweep",
    "SweepAnswer",
    "SweepLike",
    "SweepState",
    "TalwegError",
    "Trial",
    "TrialState",
    "Unavailable",
    "Verdict",
    "Violation",
    "WaitTimeout",
    "compare_url",
    "read_jobs",
}
# Data frames and arrays, of which the plain install knows nothing; and what errors keep.
UNTYPED = {
    ("AsyncJob", "predict"),
    ("InvalidRequest", "__init__"),
    ("InvalidSpec", "__init__"),
    ("Job", "predict"),
}
HEAVY = {"torch", "mlflow", "sqlalchemy", "celery", "numpy", "sklearn", "rich", "yaml", "click"}


def modules_after(code: str) -> set[str]:
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_public_names_are_frozen() -> None:
    assert set(talweg.client.__all__) == NAMES
    assert {name for name in vars(talweg.client) if name[0].isupper()} <= NAMES
    assert set(talweg.client.cli.__all__) == {"follow", "main"}


def test_what_is_public_is_typed() -> None:
    untyped = set()
    for name, kind in vars(talweg.client).items():
        if name not in NAMES or not inspect.isclass(kind):
            continue
        for member in (each for each in dir(kind) if each[0] != "_" or each == "__init__"):
            value = inspect.getattr_static(kind, member)
            function = getattr(value, "fget", None) or getattr(value, "__func__", value)
            if not inspect.isfunction(function) or not function.__module__.startswith("talweg."):
                continue
            annotations = inspect.get_annotations(function)
            parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
            assert annotations.keys() >= {*parameters, "return"}, (name, member)
            # Specs and options in JSON form hold anything.
            texts = [
                str(each).replace("Mapping[str, typing.Any]", "") for each in annotations.values()
            ]
            if any("Any" in text for text in texts):
                untyped.add((name, member))
    assert untyped == UNTYPED


def test_import_brings_nothing_heavy() -> None:
    loaded = modules_after("import talweg.client")
    assert not HEAVY & loaded
    assert not {"grpc", "asyncio"} & loaded


@pytest.mark.parametrize("chosen", ["", "INFO"])
def test_the_library_of_grpc_writes_no_notes(chosen: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    # It reads the variable when it is loaded, which importing the client does not yet do.
    program = "import talweg.client, os; print(os.environ['GRPC_VERBOSITY'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=env | ({"GRPC_VERBOSITY": chosen} if chosen else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == (chosen or "ERROR")


def test_connecting_brings_nothing_heavy() -> None:
    assert not HEAVY & modules_after(
        "from talweg.client import Client\nwith Client('127.0.0.1:1'): pass"
    )


def test_help_imports_no_part_and_no_grpc() -> None:
    loaded = modules_after("from talweg.client.cli._root import run\nassert run(['--help']) == 0")
    assert not (HEAVY - {"click"}) & loaded
    assert "grpc" not in loaded
    assert not {name for name in loaded if name.startswith(("talweg.server", "talweg.worker"))}
    assert not {name for name in loaded if name.startswith("talweg.deploy")}
