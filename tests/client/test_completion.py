"""Shell completion, through the shells' protocol: variables in, suggestions on standard output."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.commands import Talweg
from tests.client.samples import sample
from tests.client.test_cli_process import environment
from tests.client.worker import Worker

from talweg.client import Client
from talweg.client.cli._root import run

Suggest = Callable[..., list[str]]


@pytest.fixture
def suggest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Suggest:
    """Asks for completions of a command line, the last word of which is not complete."""

    def ask(line: str, shell: str = "bash") -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_TALWEG_COMPLETE", f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        # Fish sends the incomplete word itself, the others its number.
        number = words[-1] if shell == "fish" else str(len(words) - 1)
        monkeypatch.setenv("COMP_CWORD", number)
        capsys.readouterr()
        assert run([]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return [line for line in captured.out.splitlines() if line]

    return ask


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TALWEG_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("no_server")
def test_commands_and_options(suggest: Suggest) -> None:
    assert suggest("talweg canc") == ["plain,cancel"]
    assert {"plain,jobs", "plain,up", "plain,losses"} <= set(suggest("talweg "))
    assert suggest("talweg compare --met") == ["plain,--metric"]
    assert suggest("talweg jobs --state div") == ["plain,diverged"]
    assert suggest("talweg submit jo") == ["file,jo"]


@pytest.mark.usefixtures("no_server")
def test_losses_are_known_without_a_server(suggest: Suggest) -> None:
    assert suggest("talweg losses hub") == ["plain,huber"]
    assert "plain,regression" in suggest("talweg losses --task regr")
    kind, name, when = suggest("talweg losses hub", "zsh")
    assert (kind, name) == ("plain", "huber")
    assert when
    (line,) = suggest("talweg losses hub", "fish")
    assert line.startswith("plain,huber\t")


@pytest.mark.usefixtures("no_server")
def test_jobs_without_a_server_are_none(suggest: Suggest) -> None:
    assert suggest("talweg show ") == []


def test_job_ids_come_from_the_server(talweg: Talweg, suggest: Suggest, client: Client) -> None:
    experiment = f"tab {client.submit(sample()).id}"
    first, second = client.submit_many([sample(seed, experiment=experiment) for seed in (0, 1)])
    # Ids of one second may have a common beginning, whole ids are unique.
    assert suggest(f"talweg show {first.id[:-1]}")[0].startswith("plain,")
    assert suggest(f"talweg show {first.id}") == [f"plain,{first.id}"]
    assert suggest(f"talweg watch jobs/{first.id}") == [f"plain,jobs/{first.id}"]
    offered = suggest(f"talweg cancel {first.id} ")
    assert f"plain,{second.id}" in offered
    assert f"plain,{first.id}" not in offered
    _, name, about = suggest(f"talweg pause {first.id}", "zsh")
    assert name == first.id
    assert about == "QUEUED  mse on diabetes, seed 0"
    assert suggest(f"talweg replay {first.id}") == [f"plain,{first.id}"]
    assert suggest("talweg replay x --st") == ["plain,--step"]
    assert suggest("talweg jobs --experiment tab") == [f"plain,{experiment}"]


def test_metrics_of_a_job(
    talweg: Talweg, suggest: Suggest, client: Client, worker: Worker
) -> None:
    job = client.submit(sample())
    worker.claim(job.name).finish(metrics={"val/mae": 2.0, "val/loss": 1.0, "test/mae": 3.0})
    assert suggest(f"talweg metrics {job.id} val/") == ["plain,val/loss", "plain,val/mae"]
    assert suggest(f"talweg metrics {job.id} te", "zsh") == ["plain", "test/mae", "last 3.0000"]
    assert suggest("talweg metrics no-such-job val/") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_ask_by_the_variable(talweg: Talweg, shell: str) -> None:
    done = talweg("completion", shell)
    assert done.status == 0
    assert f"_TALWEG_COMPLETE={shell}_complete" in done.out


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes(tmp_path: Path) -> None:
    program = tmp_path / "talweg"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m talweg.client.cli "$@"\n')
    program.chmod(0o700)
    env = environment(tmp_path)
    script = (
        'eval "$(talweg completion bash)"; complete -p talweg;'
        "COMP_WORDS=(talweg losses hub); COMP_CWORD=2; _talweg_completion talweg;"
        'echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env={**env, "PATH": f"{tmp_path}:{env['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=360,
    )
    assert done.stderr == ""
    registered, reply = done.stdout.splitlines()
    assert registered.endswith("-F _talweg_completion talweg")
    assert reply == "huber"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_short_or_long(talweg: Talweg, flag: str) -> None:
    for command in ([], ["jobs"], ["show"], ["up"]):
        done = talweg(*command, flag)
        assert done.status == 0
        assert done.out.startswith("Usage: talweg")


def test_version(talweg: Talweg) -> None:
    done = talweg("--version")
    assert done.status == 0
    assert done.out.split()[0] == "talweg"
    assert talweg("version").out.splitlines()[0] == done.out.strip()
