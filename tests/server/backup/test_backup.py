"""Backup and restore: what is there is there again, in whichever database, and goes on."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select
from tests.server.samples import Rules, spec

from talweg.server.backup.deliveries import add_deliveries
from talweg.server.commands.backups import backup, restore
from talweg.server.services.stored_datasets.views import row_of
from talweg.server.store import stored_datasets
from talweg.server.store.record import dump, migrate
from talweg.server.store.record.database import Database
from talweg.server.store.record.schema import metadata
from talweg.v1.jobs_pb2 import TrackingRun
from talweg.v1.stored_datasets_pb2 import StoredDataset


def contents(database: Database) -> dict[str, list[Any]]:
    with database.read() as connection:
        return {
            name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for name, table in metadata.tables.items()
        }


async def filled(rules: Rules) -> None:
    """Write rows of most tables: with bytes, NULL, text beyond ASCII, NaN and a running job."""
    await rules.finished(spec(display_name="größe", tags={"a": "b"}), test_mae=float("nan"))
    await rules.finished(spec(), test_mae=1.5)
    await rules.running(spec())
    await rules.submit(spec())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_record_is_the_same_in_another_database(
    kind: str,
    rules: Rules,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    await filled(rules)
    before = contents(rules.database)
    folder = tmp_path / "dump"
    folder.mkdir()
    counts = dump.write_tables(rules.database, folder)
    assert counts["jobs"] == 4
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/restored.db"
    else:
        emptied: Callable[[], str] = request.getfixturevalue("emptied_postgres")
        url = emptied()
    restored = Database(url)
    try:
        assert dump.read_tables(restored, folder, version=migrate.latest()) == counts
        # NaN is not equal to itself.
        assert repr(contents(restored)) == repr(before)
        with pytest.raises(dump.DumpError, match="not empty"):
            dump.read_tables(restored, folder, version=migrate.latest())
        # New jobs are numbered behind the old ones.
        again = Rules(restored, [])
        row = await again.submit(spec())
        assert row.seq > max(job[0] for job in before["jobs"])
        again.close()
    finally:
        restored.close()


async def test_what_is_delivered_meanwhile_has_its_run_after_a_restore(
    rules: Rules, tmp_path: Path
) -> None:
    delivered, waiting = [await rules.finished(spec()) for _ in range(2)]
    running = await rules.running(spec())
    record, spool = tmp_path / "record", tmp_path / "spool"
    record.mkdir()
    dump.write_tables(rules.database, record)
    before = list(dump.read_rows(record, "jobs"))
    # The one is delivered and leaves the spool before that is copied, the others after it.
    for row in (delivered, waiting, running):
        run = TrackingRun(run_id=f"run-{row.id}", experiment_id="7", complete=True)
        await rules.tracking.set_run(row.name, expected="", run=run)
    (spool / waiting.id).mkdir(parents=True)
    add_deliveries(rules.database, record, spool)
    after = {row["id"]: row for row in dump.read_rows(record, "jobs")}
    run_id = f"run-{delivered.id}"
    assert TrackingRun.FromString(after[delivered.id].pop("tracking")).run_id == run_id
    assert after[delivered.id].pop("tracking_run_id") == run_id
    assert list(after.values()) == [
        {name: value for name, value in row.items() if name in after[row["id"]]} for row in before
    ]


def run(command: Any, *arguments: str | Path, **env: str) -> Any:
    return CliRunner().invoke(command, [str(each) for each in arguments], env=env)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """The data folder of a stack, as far as a backup is concerned."""
    data = tmp_path / "data"
    for name in ("blobs/jobs/a/checkpoints", "spool/a-1", "mlflow/artifacts/1"):
        (data / name).mkdir(parents=True)
    database = Database(f"sqlite:///{data}/talweg.db")
    migrate.upgrade(database)
    database.close()
    (data / "blobs/jobs/a/checkpoints/5.json").write_text("{}")
    (data / "blobs/jobs/a/checkpoints/6.json.part").write_text("half")
    (data / "spool/a-1/lines").write_text("{}\n")
    (data / "mlflow/artifacts/1/model").write_bytes(b"weights")
    (data / "token-key").write_text("secret\n")
    (data / "admin-token").write_text("admin\n")
    return data


def test_a_stack_is_restored_as_it_was(stack: Path, tmp_path: Path) -> None:
    # Somebody writes to MLflow's database meanwhile, and has not committed.
    writer = sqlite3.connect(stack / "mlflow/mlflow.db", isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE runs (name)")
    writer.execute("INSERT INTO runs VALUES ('committed')")
    writer.execute("BEGIN")
    writer.execute("INSERT INTO runs VALUES ('not yet')")
    target, restored = tmp_path / "backup", tmp_path / "restored"
    done = run(backup, target, "--data", stack)
    assert done.exit_code == 0, done.output
    writer.close()
    assert (target / "token-key").stat().st_mode & 0o077 == 0
    done = run(restore, target, "--data", restored)
    assert done.exit_code == 0, done.output
    names = {str(path.relative_to(restored)) for path in restored.rglob("*") if path.is_file()}
    assert names == {
        "talweg.db",
        "blobs/jobs/a/checkpoints/5.json",
        "spool/a-1/lines",
        "mlflow/artifacts/1/model",
        "mlflow/mlflow.db",
        "token-key",
        "admin-token",
    }
    assert (restored / "mlflow/artifacts/1/model").read_bytes() == b"weights"
    copy = sqlite3.connect(restored / "mlflow/mlflow.db")
    assert copy.execute("SELECT name FROM runs").fetchall() == [("committed",)]
    copy.close()


def test_a_projects_data_are_looked_for_in_its_part(stack: Path, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{stack}/talweg.db")
    row = row_of("houses", "key", StoredDataset(digest="ab" * 32))
    with closing(database), database.write() as tx:
        stored_datasets.insert_version(tx, replace(row, project="vision", stored_in="vision"))
    path = Path("blobs/projects/vision/datasets") / row.digest / "info.json"
    # That of another project is not its own.
    elsewhere = stack / "blobs/datasets" / row.digest / "info.json"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text("{}")
    done = run(backup, tmp_path / "none", "--data", stack)
    assert done.exit_code == 1
    assert "the content of 1 data sets is not in the blob store" in done.output
    (stack / path).parent.mkdir(parents=True)
    (stack / path).write_text("{}")
    assert run(backup, tmp_path / "backup", "--data", stack).exit_code == 0
    assert run(restore, tmp_path / "backup", "--data", tmp_path / "restored").exit_code == 0
    assert (tmp_path / "restored" / path).read_text() == "{}"


def test_nothing_is_written_over(stack: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    assert run(backup, target, "--data", stack).exit_code == 0
    done = run(backup, target, "--data", stack)
    assert done.exit_code == 1
    assert "is not empty" in done.output
    done = run(restore, target, "--data", stack)
    assert done.exit_code == 1
    assert "exists already" in done.output
    assert (stack / "token-key").read_text() == "secret\n"


@pytest.mark.parametrize(
    "broken",
    [
        "no manifest",
        "later format",
        "later record",
        "cut table",
        "lost table",
        "lost rows",
        "unknown column",
        "lost file",
        "lost folder",
    ],
)
def test_what_is_no_backup_is_refused_and_changes_nothing(
    broken: str, stack: Path, tmp_path: Path
) -> None:
    target, restored = tmp_path / "backup", tmp_path / "restored"
    assert run(backup, target, "--data", stack).exit_code == 0
    manifest = target / "manifest.json"
    facts = json.loads(manifest.read_text())
    if broken == "no manifest":
        manifest.unlink()
    elif broken == "later format":
        manifest.write_text(json.dumps({**facts, "format": 2}))
    elif broken == "later record":
        manifest.write_text(json.dumps({**facts, "record_version": "9999"}))
    elif broken == "cut table":
        (target / "record/jobs.jsonl").write_text('["seq"]\n[1')
    elif broken == "lost table":
        (target / "record/projects.jsonl").unlink()
    elif broken == "lost rows":
        (target / "record/projects.jsonl").write_text('["name"]\n')
    elif broken == "unknown column":
        (target / "record/projects.jsonl").write_text('["nmae"]\n["default"]\n')
    elif broken == "lost file":
        (target / "blobs/jobs/a/checkpoints/5.json").unlink()
    else:
        shutil.rmtree(target / "mlflow")
    done = run(restore, target, "--data", restored)
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    assert not restored.exists() or not list(restored.rglob("*"))


def test_an_incomplete_backup_is_restored_where_that_is_asked_for(
    stack: Path, tmp_path: Path
) -> None:
    target, restored = tmp_path / "backup", tmp_path / "restored"
    (stack / "blobs/jobs/a/checkpoints/4.json").write_text("{}")
    assert run(backup, target, "--data", stack).exit_code == 0
    (target / "blobs/jobs/a/checkpoints/5.json").unlink()
    shutil.rmtree(target / "spool")
    done = run(restore, target, "--data", restored)
    assert done.exit_code == 1
    assert "blobs has 1 of 2 files" in done.output
    assert "spool has 0 of 1 files" in done.output
    assert "--incomplete" in done.output
    # Nothing was copied before.
    assert "bytes" not in done.output
    assert not restored.exists()
    done = run(restore, target, "--data", restored, "--incomplete")
    assert done.exit_code == 0, done.output
    assert "incomplete: blobs has 1 of 2 files\n" in done.output
    names = [path.name for path in (restored / "blobs/jobs/a/checkpoints").iterdir()]
    assert names == ["4.json"]
    assert (restored / "talweg.db").exists()
    # A record in part would be another record.
    (target / "record/projects.jsonl").write_text('["name"]\n')
    done = run(restore, target, "--data", tmp_path / "other", "--incomplete")
    assert done.exit_code == 1
    assert "record/projects.jsonl has 0 of 1 rows" in done.output
    assert not (tmp_path / "other").exists()


def test_a_blob_store_elsewhere_is_left_to_its_own_means(tmp_path: Path) -> None:
    env = {
        "TALWEG_DATABASE_URL": f"sqlite:///{tmp_path}/record.db",
        "TALWEG_BLOBS": "s3://bucket/folder",
        "TALWEG_TOKEN_KEY_FILE": str(tmp_path / "key"),
    }
    database = Database(env["TALWEG_DATABASE_URL"])
    migrate.upgrade(database)
    database.close()
    done = run(backup, tmp_path / "one", **env)
    assert done.exit_code == 1
    assert "--no-blobs" in done.output
    done = run(backup, tmp_path / "two", "--no-blobs", **env)
    assert done.exit_code == 0, done.output


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for data in (tmp_path / "data", tmp_path / "nowhere"):
        done = run(backup, tmp_path / "backup", "--data", data)
        assert done.exit_code == 1
        assert f"there is no record at {data}" in done.output
    assert [path.name for path in tmp_path.rglob("*")] == ["data"]


def test_a_stack_whose_blobs_are_elsewhere_is_backed_up_with_them(
    stack: Path, tmp_path: Path
) -> None:
    (stack / "blobs").rename(tmp_path / "elsewhere")
    env = {"TALWEG_BLOBS": str(tmp_path / "elsewhere")}
    done = run(backup, tmp_path / "backup", "--data", stack, **env)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "backup/blobs/jobs/a/checkpoints/5.json").exists()


def test_a_backup_is_never_in_what_it_copies(stack: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(stack / "blobs")
    for inside in (stack / "blobs/b", stack / "spool", tmp_path / "link/b"):
        before = sorted(stack.rglob("*"))
        done = run(backup, inside, "--data", stack)
        assert done.exit_code == 1, done.output
        assert sorted(stack.rglob("*")) == before
    assert run(backup, tmp_path / "backup", "--data", stack).exit_code == 0
    done = run(restore, tmp_path / "backup", "--data", tmp_path / "backup/restored")
    assert done.exit_code == 1
    assert "needs a place outside it" in done.output


def test_pipes_are_not_waited_for(stack: Path, tmp_path: Path) -> None:
    os.mkfifo(stack / "spool/a-1/pipe")
    assert run(backup, tmp_path / "backup", "--data", stack).exit_code == 0
    assert [path.name for path in (tmp_path / "backup/spool/a-1").iterdir()] == ["lines"]
