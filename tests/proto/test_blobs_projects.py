"""Where projects lie in the blob store."""

from pathlib import Path

import pytest

from talweg.blobs import (
    Blobs,
    UnsafePathError,
    job_blobs,
    job_folders,
    project_blobs,
    remove_job,
)

JOB, DIGEST = "jobs/abc", "12" * 32


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}"


def test_each_project_but_default_has_a_prefix(url: str) -> None:
    for project in ("default", "vision", "speech"):
        project_blobs(url, project).write(f"{JOB}/name", project.encode())
    whole = Blobs(url)
    assert whole.read(f"{JOB}/name") == b"default"
    assert whole.read(f"projects/vision/{JOB}/name") == b"vision"
    assert job_blobs(url, "speech").read(f"{JOB}/name") == b"speech"
    assert list(job_folders(url)) == [("default", "abc"), ("speech", "abc"), ("vision", "abc")]


@pytest.mark.parametrize("project", ["", "..", "a/b", "A", "*"])
def test_what_is_no_project_has_no_prefix(url: str, project: str) -> None:
    for opened in (project_blobs, job_blobs):
        with pytest.raises(ValueError, match="a project must be 1 to 40 lower-case letters"):
            opened(url, project)


def test_a_job_stays_where_it_has_begun(url: str) -> None:
    old = Blobs(url)
    old.write(f"{JOB}/checkpoints/one", b"1")
    blobs = job_blobs(url, "vision")
    assert blobs.read(f"{JOB}/checkpoints/one") == b"1"
    blobs.write(f"{JOB}/checkpoints/two", b"2")
    assert old.names(f"{JOB}/checkpoints") == ["one", "two"]
    # One that begins now, and is gone on with by others.
    blobs.write("jobs/new/a", b"3")
    assert job_blobs(url, "vision").read("jobs/new/a") == b"3"
    assert not old.names("jobs/new")
    assert old.names("projects/vision/jobs") == ["new"]
    for job in (JOB, "jobs/new"):
        remove_job(url, "vision", job)
        remove_job(url, "vision", job)
    assert list(job_folders(url)) == []


def test_data_at_the_root_are_read_where_the_record_says_so_alone(url: str) -> None:
    Blobs(url).write(f"datasets/{DIGEST}/info.json", b"{}")
    assert not job_blobs(url, "vision").names(f"datasets/{DIGEST}")
    told = job_blobs(url, "vision", root_digests=[DIGEST])
    assert told.read(f"datasets/{DIGEST}/info.json") == b"{}"
    assert not told.names(f"datasets/{'34' * 32}")


def test_one_who_may_see_the_prefix_alone_needs_no_more(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_there = Blobs._is_there

    def bounded(blobs: Blobs, whole: str) -> bool:
        if "/projects/vision/" not in whole:
            raise PermissionError(whole)
        return is_there(blobs, whole)

    monkeypatch.setattr(Blobs, "_is_there", bounded)
    blobs = job_blobs(url, "vision")
    blobs.write(f"{JOB}/a", b"1")
    assert blobs.read(f"{JOB}/a") == b"1"


def test_no_link_leads_from_one_project_to_another(tmp_path: Path) -> None:
    url = str(tmp_path)
    project_blobs(url, "vision").write(f"{JOB}/a", b"theirs")
    (tmp_path / "projects" / "speech" / "jobs").mkdir(parents=True)
    (tmp_path / "projects" / "speech" / "jobs" / "abc").symlink_to(
        tmp_path / "projects" / "vision" / "jobs" / "abc"
    )
    for blobs in (project_blobs(url, "speech"), job_blobs(url, "speech")):
        with pytest.raises(UnsafePathError, match="leads out of the blob store"):
            blobs.read(f"{JOB}/a")
    (tmp_path / "projects" / "linked").symlink_to(tmp_path / "projects" / "vision")
    with pytest.raises(UnsafePathError, match="leads out of the blob store"):
        project_blobs(url, "linked").read(f"{JOB}/a")
