"""The package as a whole: its public names, what it imports, its generated code."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

import talweg.spec
from talweg.spec import job_id, job_name

ROOT = Path(__file__).parents[2]

PUBLIC = [
    "CheckpointName", "Head", "LossOutput", "MAX_SPEC_BYTES", "MAX_VIOLATIONS", "Measured",
    "SpecError", "Violation", "arrays_of", "category_embedding", "check", "check_continuation",
    "check_message", "check_replay", "checkpoint_folder", "complete", "continuation_changes",
    "continuation_warnings", "datasets", "display_name", "divergence_lines", "drop_control",
    "ends_at_evaluation", "escape_control", "examples_of", "facts", "facts_measured", "fill",
    "fill_message", "flatten",
    "from_dict", "goal_of", "has_class_weights", "has_control", "heads", "inputs_of",
    "is_blob_path", "is_fold", "is_job_id", "is_model_folder", "is_of_step", "is_sha256",
    "is_tracking_id", "is_web_address", "is_worse_than_trivial", "job_id", "job_models",
    "job_name", "judges_loss", "kind", "label", "leaves", "length_of", "loss_facts",
    "losses", "metrics_of",
    "models", "num_outputs", "optimizers", "output_activation", "output_of", "outputs_of_head",
    "override", "parse", "pools_batch", "primary_metric", "read", "read_shorthand", "recommend",
    "reference_names", "replay_lines", "seed_of", "session_id",
    "session_name",
    "spec_of_head", "split_sizes", "sweep_id",
    "sweep_name", "taken_names", "task_kind", "tasks", "to_dict", "to_yaml", "trivial_name",
    "undefined_when", "weight_fields", "weights_lines",
        "why_no_prefix",
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


def test_comments_have_the_places_of_what_they_describe() -> None:
    """Tools such as buf refuse a location without a span."""
    content = (ROOT / "proto/talweg/v1/descriptors.binpb").read_bytes()
    count = 0
    for file in FileDescriptorSet.FromString(content).file:
        lines = []
        if file.source_code_info.location:
            lines = (ROOT / "proto" / file.name).read_text().splitlines()
        for place in file.source_code_info.location:
            span = list(place.span)
            assert len(span) in (3, 4), (file.name, place)
            (first, start), (last, end) = span[:2], span[-2:]
            last = first if len(span) == 3 else last
            assert 0 <= first <= last < len(lines)
            assert (first, start) < (last, end)
            assert end <= len(lines[last])
            # The comment ends above what it describes.
            comment = lines[first - 1].strip().removeprefix("//").strip()
            assert comment
            assert place.leading_comments.strip().endswith(comment)
            count += 1
    assert count > 1000
