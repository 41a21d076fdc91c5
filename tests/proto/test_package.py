"""The package as a whole: its public names, what it imports, its generated code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import google.rpc
import pytest

import talweg.spec
from talweg.spec import job_id, job_name

ROOT = Path(__file__).parents[2]

PUBLIC = [
    "CheckpointName", "Head", "LossOutput", "MAX_SPEC_BYTES", "MAX_VIOLATIONS", "Measured",
    "SpecError", "Violation", "arrays_of", "check", "check_continuation", "check_message",
    "check_replay", "checkpoint_folder", "complete", "continuation_changes", "datasets",
    "display_name", "divergence_lines", "drop_control", "escape_control", "examples_of",
    "facts", "facts_measured", "fill", "fill_message", "flatten", "from_dict", "goal_of",
    "has_class_weights", "has_control", "heads", "inputs_of", "is_blob_path", "is_job_id",
    "is_model_folder", "is_of_step", "is_sha256", "is_tracking_id", "is_web_address",
    "is_worse_than_trivial", "job_id", "job_models", "job_name", "judges_loss", "kind", "label",
    "leaves", "loss_facts", "losses",
    "metrics_of", "models", "num_outputs", "optimizers", "output_activation", "output_of",
    "outputs_of_head", "override", "parse", "pools_batch", "primary_metric", "read",
    "read_shorthand", "recommend", "replay_lines", "seed_of", "spec_of_head", "split_sizes",
    "task_kind", "tasks", "to_dict", "to_yaml", "trivial_name", "undefined_when",
    "weight_fields",
]  # fmt: skip


def test_public_names() -> None:
    assert sorted(talweg.spec.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(talweg.spec, name).__doc__


def test_the_import_is_light() -> None:
    script = """
import sys
import talweg.spec
from talweg.spec import check, fill, from_dict, losses, to_dict
value = {"task": "regression", "loss": "mse", "dataset": "diabetes", "model": "mlp"}
spec = fill(from_dict(value))
assert check(spec) == ([], [])
to_dict(spec), losses()
heavy = {"torch", "mlflow", "yaml", "numpy", "grpc", "sklearn", "celery", "sqlalchemy"}
loaded = heavy & set(sys.modules)
others = {name for name in sys.modules if name.startswith("talweg.")}
others = {name for name in others if not name.startswith(("talweg.spec", "talweg.v1"))}
assert not loaded and not others, (loaded, others)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("identifier", ["abc", "2f-A_9", "x" * 100])
def test_names_of_jobs(identifier: str) -> None:
    assert job_name(identifier) == f"jobs/{identifier}"
    assert job_id(f"jobs/{identifier}") == identifier


@pytest.mark.parametrize("wrong", ["", "-a", "a b", "a/b", "x" * 101, "ä", "a\n"])
def test_ids_that_are_none(wrong: str) -> None:
    with pytest.raises(ValueError, match="a job's id must be .* but got"):
        job_name(wrong)
    with pytest.raises(ValueError, match="a job's name must be jobs/ID, but got"):
        job_id(f"jobs/{wrong}")


@pytest.mark.parametrize("wrong", ["abc", "sweeps/abc", "jobs", "/jobs/abc", "jobs/abc/"])
def test_names_that_are_none(wrong: str) -> None:
    with pytest.raises(ValueError, match="a job's name must be jobs/ID, but got"):
        job_id(wrong)


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "proto" / "generate.py"), *arguments],
        capture_output=True,
        text=True,
    )


def test_generated_code_is_up_to_date() -> None:
    done = generate(ROOT, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""


def test_stale_code_is_named_and_written_anew(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    package = tmp_path / "proto" / "talweg" / "v1"
    options = package / "options.proto"
    options.write_text(options.read_text().replace("// Greater than.", "// More than."))
    (package / "gone_pb2.py").write_text("")
    (package / "tasks_pb2.pyi").unlink()
    before = {path: path.read_bytes() for path in package.iterdir() if path.is_file()}

    done = generate(tmp_path, "--check")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "stale      talweg/v1/descriptors.binpb",
        "left over  talweg/v1/gone_pb2.py",
        "stale      talweg/v1/options_pb2.pyi",
        "missing    talweg/v1/tasks_pb2.pyi",
        "Run `make proto`, and commit what it writes.",
    ]
    assert {path: path.read_bytes() for path in package.iterdir() if path.is_file()} == before

    assert generate(tmp_path).returncode == 0
    assert generate(tmp_path, "--check").returncode == 0
    assert not (package / "gone_pb2.py").exists()
    assert (package / "tasks_pb2.pyi").exists()
    assert not list(package.glob("losses_pb2_grpc*"))


def test_no_option_holds_a_list_of_messages() -> None:
    """Which @grpc/proto-loader cannot parse: the field is written once for each instead."""
    for path in sorted((ROOT / "proto/talweg/v1").glob("*.proto")):
        assert not re.search(r"\w+: \[\s*\{", path.read_text()), path.name


def test_node_loads_the_protos(tmp_path: Path) -> None:
    node = shutil.which("node")
    package = os.environ.get("PROTO_LOADER", "")
    if node is None or not package:
        pytest.skip("needs node, and the folder of @grpc/proto-loader in PROTO_LOADER")
    script = (
        "const loader = require(process.argv[1]);"
        "const options = {includeDirs: process.argv.slice(3)};"
        "const loaded = loader.loadSync(process.argv[2], options);"
        "console.log(Object.keys(loaded).filter(name => name.endsWith('Service')).join());"
    )
    common = Path(google.rpc.__path__[0]).parents[1]
    for name, service in (("jobs", "JobService"), ("system", "SystemService")):
        done = subprocess.run(
            [node, "-e", script, package, f"talweg/v1/{name}.proto", ROOT / "proto", common],
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"talweg.v1.{service}" in done.stdout, done.stderr
