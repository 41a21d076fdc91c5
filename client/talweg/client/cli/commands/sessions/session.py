"""`talweg session`: one session."""

import click

from talweg.client import Session as SharedBudget
from talweg.client.cli._common import Session, json_option, note, print_json, say


@click.group()
def session() -> None:
    """Look at a session, or close it.

    In a session all comparisons share one error budget, and the test data are left alone until it
    is closed. Jobs and sweeps name it by `session: NAME`; docs/agents.md explains it.
    """


@session.command()
@click.argument("name", metavar="NAME")
@json_option
@click.pass_obj
def show(session: Session, name: str, as_json: bool) -> None:
    """Show the answers of a session, what is left of its budget, and test results once closed."""
    with session.client() as client:
        _print(client.session(name), as_json)


@session.command()
@click.argument("name", metavar="NAME")
@click.option("--wait/--no-wait", default=True, help="Wait for the tests. Default: wait.")
@json_option
@click.pass_obj
def close(session: Session, name: str, wait: bool, as_json: bool) -> None:
    """Close a session: it takes nothing more, and workers test its kept weights.

    Nothing is deleted. Closing it again tests what was tested in vain.
    """
    with session.client() as client:
        found = client.session(name).close()
        if wait:
            found.wait()
        _print(found, as_json)


def _print(found: SharedBudget, as_json: bool) -> None:
    from talweg.spec import to_dict

    message = found.message
    if as_json:
        print_json(to_dict(message))
        return
    say(f"{found.id}  {found.state}: {found.budget_text}")
    for answer in message.answers:
        say(f"{answer.number}  {answer.text}")
    if message.best:
        say(f"Best of the single jobs: {message.best}")
    for test in message.tests:
        spread = f" ± {test.sd:.4g} over {test.n} seeds" if test.HasField("sd") else ""
        say(f"{test.label}: {test.metric} {test.mean:.4g}{spread}")
    if message.num_untested:
        note(f"jobs whose weights are still to be tested: {message.num_untested}")
    if message.num_failed_tests:
        note(f"jobs whose weights could not be tested: {message.num_failed_tests}")
