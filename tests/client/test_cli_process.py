"""The command line as a process: plug-ins, signals, pipes, and how quick it is."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from tests._parts import wait_until
from tests.client.faulty import FaultyServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client

TALWEG = [sys.executable, "-m", "talweg.client.cli"]


def environment(folder: Path, **settings: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TALWEG_")}
    return {**kept, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), **settings}


def talweg(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TALWEG, *arguments], env=env, cwd=cwd, capture_output=True, text=True, timeout=180
    )


@pytest.fixture
def plugins(tmp_path: Path) -> dict[str, str]:
    """An installed part with commands of its own: one whole, one that lacks what it needs."""
    (tmp_path / "part.py").write_text(
        "import click, sys\n"
        "@click.command()\n"
        "def whole():\n"
        "    'Does something.'\n"
        "    click.echo('done')\n"
        "@click.command()\n"
        "def late():\n"
        "    'Needs something later.'\n"
        "    import no_such_module\n"
    )
    (tmp_path / "lacking.py").write_text("import no_such_module\n")
    info = tmp_path / "part-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: part\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[talweg.commands]\nwhole = part:whole\nlate = part:late\nlacking = lacking:command\n"
    )
    return environment(tmp_path, PYTHONPATH=str(tmp_path))


def test_plugin_is_listed_and_runs(plugins: dict[str, str]) -> None:
    assert re.search(r"whole +Does something\.", talweg("--help", env=plugins).stdout)
    done = talweg("whole", env=plugins)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize("command", ["lacking", "late"])
def test_plugin_that_lacks_something_says_what_to_install(
    plugins: dict[str, str], command: str
) -> None:
    done = talweg(command, env=plugins)
    assert done.returncode == 2
    assert "needs no_such_module" in done.stderr
    assert "pip install 'talweg[all]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert talweg("--help", env=plugins).returncode == 0


def test_help_lists_everything(tmp_path: Path) -> None:
    env = environment(tmp_path)
    done = talweg("--help", env=env)
    for command in (
        "submit", "jobs", "show", "watch", "cancel", "pause", "resume", "continue", "retry",
        "compare", "losses", "tasks",
        "models", "datasets", "optimizers", "version", "up", "server", "worker",
    ):  # fmt: skip
        assert re.search(rf"^  {command} +\w", done.stdout, re.MULTILINE), command


def test_misspelt_command(tmp_path: Path) -> None:
    done = talweg("sumbit", env=environment(tmp_path))
    assert done.returncode == 2
    assert "did you mean 'submit'?" in done.stderr


def test_no_server_known(tmp_path: Path) -> None:
    env = environment(tmp_path)
    done = talweg("jobs", env=env, cwd=tmp_path)
    assert done.returncode == 4
    assert "talweg up" in done.stderr
    assert str(tmp_path / ".talweg/stack.json") in done.stderr
    # The catalogue is known without a server, and says that it is.
    done = talweg("losses", "--json", env=env, cwd=tmp_path)
    assert done.returncode == 0
    assert "huber" in done.stdout
    assert "no server is known" in done.stderr


def test_version(tmp_path: Path) -> None:
    done = talweg("version", env=environment(tmp_path))
    assert re.match(r"talweg \d+\.\d+\.\d+\npython 3\.", done.stdout)


def test_reader_that_has_enough_is_no_error(faulty: FaultyServer, tmp_path: Path) -> None:
    env = environment(tmp_path, TALWEG_ADDRESS=faulty.address)
    with Client(faulty.address) as client:
        client.submit_many([sample(seed) for seed in range(200)])
    command = " ".join([*TALWEG, "jobs", "--limit", "200", "--json"])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"],
        env=env, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.stdout == "[\n"
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(faulty: FaultyServer, tmp_path: Path, closed: str) -> None:
    env = environment(tmp_path, TALWEG_ADDRESS=faulty.address)
    command = f'exec "$@" {closed}'
    done = subprocess.run(["sh", "-c", command, "sh", *TALWEG, "jobs"], env=env, timeout=180)
    assert done.returncode == 0


def test_quickstart_example(faulty: FaultyServer, tmp_path: Path) -> None:
    env = environment(tmp_path, TALWEG_ADDRESS=faulty.address)
    script = Path(__file__).parents[2] / "client/examples/quickstart.py"
    with (
        subprocess.Popen(
            [sys.executable, str(script)], env=env, stdout=subprocess.PIPE, text=True
        ) as process,
        Worker(faulty.address) as worker,
    ):
        for value in range(9):
            worker.claim().finish(metrics={"test/mae": 50.0 + value})
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(out.splitlines()) == 9 + 5
    assert "test/mae (lower is better), by loss" in out


def test_ctrl_c_detaches_and_says_how_to_go_on(faulty: FaultyServer, tmp_path: Path) -> None:
    env = environment(tmp_path, TALWEG_ADDRESS=faulty.address)
    with Client(faulty.address) as client, Worker(faulty.address) as worker:
        job = client.submit(sample())
        attempt = worker.claim(job.name)
        process = subprocess.Popen(
            [*TALWEG, "watch", job.id],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert "RUNNING" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "the job continues" in err
        assert f"talweg watch {job.id}" in err
        assert f"talweg cancel {job.id}" in err
        assert "Traceback" not in err
        attempt.finish()
        assert job.wait(120).state == "SUCCEEDED"


def test_plain_watch_outlives_a_restart(faulty: FaultyServer, tmp_path: Path) -> None:
    env = environment(tmp_path, TALWEG_ADDRESS=faulty.address)
    with Client(faulty.address) as client:
        job = client.submit(sample())
        with Worker(faulty.address) as worker:
            attempt = worker.claim(job.name)
        process = subprocess.Popen(
            [*TALWEG, "watch", job.id],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert "RUNNING" in process.stdout.readline()
        faulty.stop()
        assert "retrying" in process.stdout.readline()
        faulty.start()
        with Worker(faulty.address) as worker:
            attempt.over(worker).finish()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.count("SUCCEEDED") == 1


def test_live_bars_on_a_terminal(faulty: FaultyServer, tmp_path: Path) -> None:
    env = environment(
        tmp_path, TALWEG_ADDRESS=faulty.address, TERM="xterm", COLUMNS="120", LINES="20"
    )
    with Client(faulty.address) as client, Worker(faulty.address) as worker:
        jobs = client.submit_many([sample(seed) for seed in range(36)])
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [*TALWEG, "watch", *(job.id for job in jobs)],
            env=env, stdin=terminal, stdout=terminal, stderr=terminal,
        )  # fmt: skip
        os.close(terminal)
        screen = Screen(controller)
        attempt = worker.claim()
        attempt.report(step=4, metrics={"val/mae": 61.5})
        screen.wait_for(r"RUNNING +val/mae 61\.500 +mse on diabetes, seed \d+ +epoch 3/5 +━━")
        screen.wait_for(r"0/36 ended · 1 running · 35 queued")
        screen.wait_for(r"and \d+ more")
        attempt.finish(metrics={"test/mae": 50.0})
        for _ in range(35):
            worker.claim().finish(metrics={"test/mae": 50.0})
        screen.wait_for(r"36/36 ended")
        assert process.wait(120) == 0
        os.close(controller)


class Screen:
    """What a program writes to a terminal, without its colours and movements."""

    def __init__(self, controller: int) -> None:
        self._controller = controller
        self._bytes = b""

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._bytes.decode(errors="ignore"))

    def wait_for(self, pattern: str) -> None:
        def shown() -> bool:
            # The program's end is an error of reading.
            with suppress(OSError):
                if select.select([self._controller], [], [], 0.02)[0]:
                    self._bytes += os.read(self._controller, 65536)
            return re.search(pattern, self.text) is not None

        try:
            wait_until(shown, timeout=20, what=pattern)
        except TimeoutError as exc:
            raise TimeoutError(f"{exc}; shown: {self.text[-2000:]}") from exc


def test_an_encoding_without_all_characters_breaks_no_output(tmp_path: Path) -> None:
    env = environment(tmp_path) | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = talweg("losses", "huber", env=env)
    assert done.returncode == 0, done.stderr
    assert "huber" in done.stdout
