"""Following sweeps to their end and their answer, and leaving what is watched."""

from collections.abc import Sequence

from talweg.client import Client, Job, Sweep, SweepState, TalwegError
from talweg.client.cli import _problems
from talweg.client.cli._common import console, note, print_json
from talweg.client.cli._targets import Target
from talweg.client.cli.commands.sweeps.answer import print_answer

DETACHED = 130
"""The exit status after Ctrl-C."""
_MAX_NAMED = 20


def follow_sweeps(client: Client, sweeps: Sequence[Sweep], *, stderr: bool = False) -> int:
    """Follow sweeps one after the other, print their answers, and return the exit status.

    Ctrl-C prints how to reattach.

    Args:
        client: The client that the sweeps came from.
        sweeps: The sweeps.
        stderr: Print to standard error, since standard output has JSON.
    """
    from talweg.client.cli.progress.sweeps import follow_sweep

    status = 0
    out = console(stderr=stderr)
    for sweep in sweeps:
        try:
            succeeded = follow_sweep(client, sweep, out)
        except KeyboardInterrupt:
            tell_detached(sweeps)
            return DETACHED
        status = status if succeeded else _problems.JOB_NOT_SUCCEEDED
        try:
            answered = sweep.answer()
        except TalwegError as error:
            # The sweep has ended, which is what the exit status says.
            _problems.tell(error, about=sweep.id)
        else:
            out.print()
            print_answer(answered, out)
    return status


def print_sweep_events(sweeps: Sequence[Sweep]) -> int:
    """Print the events of sweeps one after the other, a line of JSON each; return the status."""
    from talweg.spec import to_dict

    succeeded = True
    try:
        for sweep in sweeps:
            for event in sweep.follow():
                print_json({"sweep": sweep.name, **to_dict(event)}, indent=None)
            succeeded &= SweepState.of(sweep.message.state) is SweepState.SUCCEEDED
    except KeyboardInterrupt:
        tell_detached(sweeps)
        return DETACHED
    return 0 if succeeded else _problems.JOB_NOT_SUCCEEDED


def tell_detached(targets: Sequence[Target]) -> None:
    """Say how to come back to jobs, or to sweeps, that are no longer watched."""
    ids = " ".join(each.id for each in targets[:_MAX_NAMED])
    ids += " …" if len(targets) > _MAX_NAMED else ""
    kind = "job" if isinstance(targets[0], Job) else "sweep"
    what = f"the {kind} continues" if len(targets) == 1 else f"the {kind}s continue"
    note(f"\ndetached; {what}. Reattach: talweg watch {ids}\nCancel: talweg cancel {ids}")
