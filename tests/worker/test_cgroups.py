"""Memory limits of control groups, from files as the kernel lays them out."""

from pathlib import Path

import pytest

from talweg.worker import cgroups

MIB = 2**20


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def membership(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "membership"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_the_groups_above_limit_too(root: Path, tmp_path: Path) -> None:
    """As under SLURM: the step has no limit, the job has one, and another task uses of it."""
    own = membership(tmp_path, "0::/system.slice/job_7/step_0/task_0")
    job = root / "system.slice" / "job_7"
    statistics = f"anon 5\ninactive_file {10 * MIB}\nactive_file {5 * MIB}"
    group(root / "system.slice", memory__max="max", memory__current=0, memory__stat="anon 0")
    group(
        job, memory__max=512 * MIB, memory__current=300 * MIB, memory__stat=statistics,
        memory__events="oom 3\noom_kill 2",
    )  # fmt: skip
    group(
        job / "step_0" / "task_0", memory__max="max", memory__current=100 * MIB,
        memory__stat="anon 1", memory__events="oom 1\noom_kill 1",
    )  # fmt: skip
    assert list(cgroups.left(root, own)) == [(512 - 300 + 15) * MIB]
    assert cgroups.num_killed(root, own) == 2


def test_a_group_of_the_first_version_limits(root: Path, tmp_path: Path) -> None:
    own = membership(tmp_path, "9:name=systemd:/x", "4:cpu,memory:/docker/abc", "0::/")
    group(
        root / "memory" / "docker" / "abc",
        memory__limit_in_bytes=100 * MIB,
        memory__usage_in_bytes=60 * MIB,
        memory__stat=f"cache 1\ntotal_inactive_file {MIB}\ntotal_active_file {MIB}",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 4",
    )
    group(root / "memory", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=80 * MIB)
    assert list(cgroups.left(root, own)) == [42 * MIB]
    assert cgroups.num_killed(root, own) == 4


def test_a_group_that_is_full_leaves_nothing(root: Path, tmp_path: Path) -> None:
    group(root, memory__max=MIB, memory__current=2 * MIB, memory__stat="anon 1")
    assert list(cgroups.left(root, membership(tmp_path, "0::/"))) == [0]


@pytest.mark.parametrize("path", ["/../../elsewhere", "/", "/gone"])
def test_what_cannot_be_seen_limits_nothing(path: str, root: Path, tmp_path: Path) -> None:
    group(tmp_path / "elsewhere", memory__max=1, memory__current=0, memory__stat="anon 1")
    group(root, cgroup__controllers="memory")
    own = membership(tmp_path, f"0::{path}")
    assert list(cgroups.left(root, own)) == []
    assert cgroups.num_killed(root, own) == 0


def test_without_control_groups_nothing_is_limited(root: Path, tmp_path: Path) -> None:
    assert list(cgroups.left(root, tmp_path / "none")) == []
    assert cgroups.num_killed(root, tmp_path / "none") == 0
