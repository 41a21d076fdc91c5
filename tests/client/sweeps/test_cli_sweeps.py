"""Sweeps on the command line: what is printed, where to, and the exit status."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests._parts import wait_until
from tests.client.commands import Talweg
from tests.client.faulty import FaultyServer
from tests.client.samples import sample
from tests.client.sweeps.training import Training, Value, by_setting, sweep
from tests.client.test_cli_process import TALWEG, environment
from tests.client.test_completion import Suggest, suggest  # noqa: F401 - a fixture
from tests.client.test_screens import Screen, screen  # noqa: F401 - a fixture
from tests.client.worker import Worker

from talweg.client import Client
from talweg.spec import from_dict
from talweg.v1 import jobs_pb2
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import SweepSpec

PAGES = "http://mlflow.example:5000"
Train = Callable[[Value], Training]
Write = Callable[..., Path]


def unlucky(spec: JobSpec) -> float | jobs_pb2.Job.State.ValueType:
    """Give the jobs of one setting no result."""
    is_mse = spec.loss.WhichOneof("kind") == "mse"
    is_high = spec.optimizer.adamw.learning_rate == 0.01
    return jobs_pb2.Job.DIVERGED if is_mse and is_high else by_setting(spec)


def test_submit_and_watch_end_with_the_answer(talweg: Talweg, train: Train, write: Write) -> None:
    train(unlucky)
    done = talweg("submit", write(sweep(seeds=2)), "--watch")
    assert done.status == 0
    lines = done.out.splitlines()
    ended = [line for line in lines if re.search(r"\d/4 trial \d", line)]
    assert [line.split()[1] for line in ended] == ["1/4", "2/4", "3/4", "4/4"]
    assert sum("DIVERGED: loss=mse, learning_rate=0.01" in line for line in ended) == 1
    assert any(
        "SUCCEEDED: val/mae 10.105 ± 0.0071, loss=mae, learning_rate=0.001" in line
        for line in ended
    )
    answered = lines[lines.index("") + 1 :]
    assert answered[0].startswith("The best of 4 trials is loss=mae, learning_rate=0.001")
    assert any(line.startswith("Best trial") for line in answered)
    assert "1 of 4 trials" in done.err
    assert "\x1b" not in done.out


def test_an_edited_sweep_shows_what_differs_and_needs_yes(
    talweg: Talweg, client: Client, train: Train, write: Write
) -> None:
    train(by_setting)
    name = "an edited sweep"
    first = talweg("submit", write(sweep(display_name=name)), "--watch")
    assert first.status == 0
    assert "an edit of" not in first.err
    # What differs in nothing needs no answer.
    again = talweg("submit", write(sweep(display_name=name)), "--dry-run")
    assert again.status == 0
    edited = write(sweep(display_name=name, seeds=2))
    number = len(list(client.sweeps()))
    refused = talweg("submit", edited)
    assert refused.status == 2
    assert "add --yes" in refused.err
    assert "seeds.count: 1 -> 2" in refused.err
    assert "settings: 0 new, 0 kept, 4 run again, 0 removed" in refused.err
    assert len(list(client.sweeps())) == number
    assert talweg("submit", edited, "--yes").status == 0
    assert len(list(client.sweeps())) == number + 1
    assert talweg("submit", edited, "--edits", "nobody").status == 3
    job = write(sample(), "job.yaml")
    assert "--edits: found 0 sweeps" in talweg("submit", job, "--edits", "nobody").err
    assert len(list(client.sweeps())) == number + 1


@pytest.mark.parametrize(("answer", "created"), [("n", 0), ("y", 1)])
def test_an_edited_sweep_asks_on_a_terminal(
    client: Client, write: Write, tmp_path: Path, answer: str, created: int
) -> None:
    name = "asked about"
    client.sweep(sweep(display_name=name))
    number = len(list(client.sweeps()))
    leader, follower = pty.openpty()
    os.write(leader, f"{answer}\n".encode())
    done = subprocess.run(
        [*TALWEG, "submit", write(sweep(display_name=name, seeds=2))],
        env=environment(tmp_path, TALWEG_ADDRESS=client.address),
        stdin=follower,
        capture_output=True,
        timeout=180,
    )
    for end in (leader, follower):
        os.close(end)
    assert done.returncode == (0 if created else 2)
    assert b"Create it?" in done.stderr
    assert len(list(client.sweeps())) == number + created


def test_watch_of_a_sweep_that_has_ended(talweg: Talweg, client: Client, train: Train) -> None:
    train(by_setting)
    created = client.sweep(sweep()).wait(120)
    for name in (created.id, created.name):
        done = talweg("watch", name)
        assert done.status == 0
        assert "4/4 trial" in done.out
    lines = [json.loads(line) for line in talweg("watch", created.id, "--json").out.splitlines()]
    assert [line["cursor"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["finished"]["state"] == "SUCCEEDED"
    assert {line["sweep"] for line in lines} == {created.name}


def test_only_a_sweep_that_succeeded_exits_with_0(
    talweg: Talweg, client: Client, train: Train
) -> None:
    train(lambda spec: jobs_pb2.Job.FAILED)
    failed = client.sweep(sweep(failure_budget=0, parallel=1)).wait(120)
    assert failed.state == "FAILED"
    assert talweg("watch", failed.id).status == 1
    assert talweg("watch", failed.id, "--json").status == 1


def test_control(talweg: Talweg, client: Client) -> None:
    created, job = client.sweep(sweep()), client.submit(sample())
    done = talweg("pause", created.id, job.id, "--reason", "lunch")
    assert (done.status, done.out) == (0, f"{created.id} is PAUSED\n{job.id} is PAUSED\n")
    (paused,) = talweg("pause", created.name, "--json").json
    assert (paused["id"], paused["state"]) == (created.id, "PAUSED")
    done = talweg("resume", created.id)
    assert (done.status, done.out) == (0, f"{created.id} is RUNNING\n")
    done = talweg("cancel", created.id, "--force")
    assert done.status == 2
    assert "--force are for jobs" in done.err
    assert created.refresh().state == "RUNNING"
    done = talweg("cancel", created.id, "no-such-one", "--reason", "enough")
    assert done.status == 3
    assert created.id in done.out
    assert created.wait(120).state == "CANCELLED"
    assert created.message.message.endswith("enough")
    assert talweg("resume", created.id).status == 6
    assert talweg("show", "sweeps/no-such-one").status == 3
    assert "`talweg sweeps` lists" in talweg("answer", "no-such-one").err


def test_retry_submits_trials_again(talweg: Talweg, client: Client, train: Train) -> None:
    training = train(unlucky)
    created = client.sweep(sweep()).wait(120)
    training.stop()
    done = talweg("retry", created.id)
    assert done.out == f"{created.id}: 0 jobs submitted again\n"
    done = talweg("retry", created.id, "--state", "diverged")
    assert done.out == f"{created.id}: 1 job submitted again\n"
    train(by_setting)
    assert created.refresh().wait(120).state == "SUCCEEDED"
    assert len(list(created.trials(states=["SUCCEEDED"]))) == 4


def test_an_answer_compares(talweg: Talweg, client: Client, train: Train) -> None:
    compare = {"path": "loss", "baseline": "mse", "margin": "1%", "final_seeds": 6}
    created = client.sweep(sweep(compare=compare))
    done = talweg("answer", created.id)
    assert done.status == 0
    assert "the answer is provisional" in done.err
    train(by_setting)
    created.wait(120)
    done = talweg("answer", created.id)
    assert done.status == 0
    text, *table = done.out.splitlines()
    assert "better" in text
    assert any(
        line.startswith("test/mae (lower is better), by loss, against mse") for line in table
    )
    assert any(re.match(r"mae +6 +10\.1\d+ ± ", line) for line in table)
    chosen = table[table.index("Chosen on validation data") :]
    assert sum("learning_rate=0.001" in line for line in chosen) == 2
    assert "provisional" not in done.err
    answered = talweg("answer", created.name, "--json").json
    assert answered["text"] == text
    assert answered["comparison"]["answer"]["baseline"] == ["mse"]
    assert {each["compared"] for each in answered["chosen"]} == {"mae", "mse"}
    assert answered["is_provisional"] is False


def test_trials_and_show(talweg: Talweg, client: Client, train: Train) -> None:
    train(unlucky)
    created = client.sweep(sweep(display_name="mine")).wait(120)
    rows = talweg("trials", created.id).out.splitlines()
    assert rows[0].split() == ["TRIAL", "STATE", "VAL/MAE", "N", "SETTING"]
    assert [row.split()[0] for row in rows[1:]] == ["1", "2", "3", "4"]
    best = talweg("trials", created.id, "--best", "--limit", "3")
    assert "there are more trials" in best.err
    assert [row.split()[2] for row in best.out.splitlines()[1:]] == ["10.100", "11.000", "20.100"]
    (diverged,) = talweg("trials", created.id, "--state", "diverged", "--json").json
    assert diverged["setting"] == {"loss": "mse", "optimizer.adamw.learning_rate": 0.01}
    done = talweg("show", created.id)
    assert done.out.startswith(f"{created.name} SUCCEEDED mine\n")
    assert re.search(r"trials +4/4 trials, 1 diverged", done.out)
    assert re.search(r"jobs +3 succeeded, 1 diverged of 4", done.out)
    spec = done.out[done.out.index("Spec\n") + 5 :]
    assert from_dict(yaml.safe_load(spec), SweepSpec) == created.spec
    assert talweg("show", created.id, "--json").json["num_trials"] == 4


def test_sweeps_are_listed(talweg: Talweg, client: Client, train: Train) -> None:
    assert "no sweeps" in talweg("sweeps").err
    waiting = client.sweep(sweep(display_name="waiting")).pause()
    train(by_setting)
    ended = client.sweep(sweep()).wait(120)
    header, *rows = talweg("sweeps").out.splitlines()
    assert header.split() == ["ID", "STATE", "TRIALS", "BEST", "NAME", "CREATED"]
    assert [row.split()[0] for row in rows] == [ended.id, waiting.id]
    assert rows[0].split()[1:5] == ["SUCCEEDED", "4/4", "10.100", "val/mae"]
    assert "2 values of loss on diabetes" in rows[0]
    assert rows[1].split()[1:4] == ["PAUSED", "0/4", "waiting"]
    (only,) = talweg("sweeps", "--state", "paused", "--json").json
    assert only["name"] == waiting.name
    assert "there are more sweeps" in talweg("sweeps", "--limit", "1").err


def test_the_list_fits_80_columns(
    screen: Screen,  # noqa: F811
    client: Client,
    train: Train,
) -> None:
    train(by_setting)
    ended = client.sweep(sweep(display_name="a name that says in many words what it is")).wait(120)
    lines = [line for line in screen(80, "sweeps") if line]
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith(ended.id)
    assert "10.100 val/mae" in lines[1]


def test_the_board_of_a_terminal(
    screen: Screen,  # noqa: F811
    client: Client,
    train: Train,
) -> None:
    created = client.sweep(sweep(display_name="mine"))
    train(unlucky)
    lines = screen(80, "watch", created.id)
    text = "\n".join(lines)
    assert re.search(rf"{created.id} SUCCEEDED mine", text)
    assert "4/4 trials · 1 diverged" in text
    assert re.search(r"10\.100 +loss=mae, learning_rate=0\.001", text)
    assert "The best of 4 trials" in text


def test_dry_run_tells_how_much_it_is(talweg: Talweg, client: Client, write: Write) -> None:
    compare = {"path": "loss", "final_seeds": 6}
    done = talweg("submit", write(sweep(compare=compare, seeds=3)), "--dry-run")
    assert done.status == 0
    assert done.out.startswith("# 4 trials, 24 jobs (3 seeds each; 2 compared values with 6 final")
    assert "#   1: loss=mse, learning_rate=0.01\n" in done.out
    filled = from_dict(yaml.safe_load(done.out), SweepSpec)
    assert filled.compare.metric == "test/mae"
    assert "1 valid sweep; nothing was submitted" in done.err
    searched = write(sweep(algorithm="tpe", trials=3), "searched.yaml")
    done = talweg("submit", searched, "--dry-run")
    assert done.out.startswith("# 3 trials, 3 jobs (1 seed each).\n# The service chooses settings")
    (spec,) = talweg("submit", write(sweep()), "--dry-run", "--json").json
    assert spec["seeds"]["count"] == 1
    assert list(client.sweeps()) == []


def test_settings_of_the_command_line_are_those_of_the_base(
    talweg: Talweg, client: Client, write: Write
) -> None:
    done = talweg("submit", write(sweep()), "--set", "training.epochs=9", "--json")
    (created,) = done.json
    assert created["spec"]["base"]["training"]["epochs"] == 9
    done = talweg("submit", write(sweep()), "--set", "trainning.epochs=9")
    assert done.status == 2
    assert "did you mean 'training'" in done.err


def test_jobs_and_sweeps_in_one_call(
    talweg: Talweg, client: Client, train: Train, write: Write
) -> None:
    job, file = write(sample(), "job.yaml"), write(sweep(display_name="mine"), "sweep.yaml")
    done = talweg("submit", job, file)
    assert done.status == 0
    first, second = done.out.splitlines()
    assert client.job(first.split()[0]).state == "QUEUED"
    assert second.split() == [client.get_sweep(second.split()[0]).id, "mine"]
    assert "submitted 1 job and 1 sweep" in done.err
    train(by_setting)
    done = talweg("submit", job, file, "--watch", "--json")
    assert done.status == 0
    assert [each["state"] for each in done.json] == ["SUCCEEDED", "SUCCEEDED"]
    assert done.json[1]["name"].startswith("sweeps/")


def test_a_wrong_file_keeps_all_back(talweg: Talweg, client: Client, write: Write) -> None:
    bad = write(sweep(objective="test/mae"), "bad.yaml")
    done = talweg("submit", write(sample(), "job.yaml"), bad)
    assert done.status == 2
    assert str(bad) in done.err
    assert "objective.metric" in done.err
    assert "nothing was submitted" in done.err
    done = talweg("submit", write({**sweep(), "trialz": 3, "paralel": 2}))
    assert done.status == 2
    assert "2 problems" in done.err
    broken = write("", "broken.yaml")
    broken.write_text("base: {task: regression}\nspace:\n  - {path: loss, values: [mse\n")
    done = talweg("submit", broken)
    assert done.status == 2
    assert re.search(r"broken\.yaml:4:1", done.err)
    assert list(client.jobs()) == []
    assert list(client.sweeps()) == []


def test_ctrl_c_leaves_the_sweep_running(
    faulty: FaultyServer, client: Client, tmp_path: Path
) -> None:
    created = client.sweep(sweep())
    env = environment(tmp_path, TALWEG_ADDRESS=faulty.address)
    process = subprocess.Popen(
        [*TALWEG, "watch", created.id], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_until(lambda: faulty.faults.num_open, timeout=20, what="a watch")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"the sweep continues. Reattach: talweg watch {created.id}" in err.decode()
    assert created.refresh().state == "RUNNING"


def test_ids_may_be_shortened(talweg: Talweg, client: Client) -> None:
    created = client.sweep(sweep())
    wait_until(lambda: created.refresh().message.jobs, timeout=10, what="jobs")
    known = [each.id for each in client.jobs()]
    unique = next(
        created.id[:n]
        for n in range(1, 12)
        if not any(id_.startswith(created.id[:n]) for id_ in known)
    )
    assert talweg("show", unique, "--json").json["id"] == created.id
    assert talweg("answer", unique, "--json").json["sweep"] == created.name
    others = [client.sweep(sweep()) for _ in range(40)]
    # Of forty ids two begin alike, and what they are of does not matter.
    begins = [each.id[:1] for each in others]
    several = next(begin for begin in begins if begins.count(begin) > 1)
    done = talweg("show", several)
    assert done.status == 2
    assert f"{several!r} is a prefix of " in done.err
    assert re.search(r"is a prefix of [\w ]+ sweeps: ", talweg("answer", several).err)


def test_ids_are_completed(
    talweg: Talweg,
    suggest: Suggest,  # noqa: F811
    client: Client,
) -> None:
    created, job = client.sweep(sweep(display_name="mine")), client.submit(sample())
    assert suggest(f"talweg answer {created.id[:-1]}") == [f"plain,{created.id}"]
    assert suggest(f"talweg watch sweeps/{created.id}") == [f"plain,sweeps/{created.id}"]
    assert {f"plain,{created.id}", f"plain,{job.id}"} <= set(suggest("talweg cancel "))
    assert f"plain,{job.id}" not in suggest("talweg trials ")
    _, name, about = suggest(f"talweg pause {created.id}", "zsh")
    assert (name, about) == (created.id, "RUNNING  mine")


@pytest.mark.parametrize("command", ["watch", "pause", "resume", "cancel", "show", "open"])
def test_help_names_sweeps(talweg: Talweg, command: str) -> None:
    assert "SWEEP" in talweg(command, "--help").out


def test_the_summary_in_mlflow_is_told_and_opened(
    talweg: Talweg, client: Client, train: Train, worker: Worker
) -> None:
    train(by_setting)
    created = client.sweep(sweep()).wait(120)
    assert created.tracking_url is None
    assert "MLflow" not in talweg("answer", created.id).out
    worker.summarise(created.name, run_id="r1", url=f"{PAGES}/#/experiments/7/runs/r1")
    assert created.tracking_url == f"{PAGES}/#/experiments/7/runs/r1"
    for command in (("answer", created.id), ("show", created.id), ("sweeps", "--json")):
        assert f"{PAGES}/#/experiments/7/runs/r1" in talweg(*command).out
    answered = json.loads(talweg("answer", created.id, "--json").out)
    assert answered["tracking_url"] == created.tracking_url
    assert f'href="{PAGES}/#/experiments/7/runs/r1"' in created._repr_html_()
    opened = talweg("open", created.id, "--print").out
    assert opened.startswith(f"{PAGES}/#/experiments/7/runs?viewStateShareKey=talweg-sweep-")
    assert created.id in opened
