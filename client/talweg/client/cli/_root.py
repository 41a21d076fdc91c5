"""The root of the command line, and how errors end it."""

import os
import sys
from collections.abc import Sequence

import click

from talweg.client.cli._common import Session
from talweg.client.cli._lazy import Lazy, LazyGroup, missing_extra

_HERE = "talweg.client.cli"
_OWN = {
    "submit": Lazy(f"{_HERE}._submit:submit", "Submit job files."),
    "jobs": Lazy(f"{_HERE}._jobs:jobs", "List jobs."),
    "show": Lazy(f"{_HERE}._show:show", "Show all about a job."),
    "watch": Lazy(f"{_HERE}._control:watch", "Follow jobs until they have ended."),
    "cancel": Lazy(f"{_HERE}._control:cancel", "Ask jobs to end."),
    "pause": Lazy(f"{_HERE}._pausing:pause", "Have jobs wait until they are resumed."),
    "resume": Lazy(f"{_HERE}._pausing:resume", "Let paused jobs go on."),
    "continue": Lazy(f"{_HERE}._continue:continue_", "Go on with an ended job's training."),
    "retry": Lazy(f"{_HERE}._control:retry", "Submit ended jobs again."),
    "compare": Lazy(f"{_HERE}._compare:compare", "Compare jobs by a metric."),
    "recommend": Lazy(f"{_HERE}._recommend:recommend", "Recommend losses for a task and data."),
    "losses": Lazy(f"{_HERE}._catalogue:losses", "List the losses, or explain one."),
    "tasks": Lazy(f"{_HERE}._catalogue:tasks", "List the tasks, or explain one."),
    "models": Lazy(f"{_HERE}._catalogue:models", "List the models, or explain one."),
    "datasets": Lazy(f"{_HERE}._catalogue:datasets", "List the data sets, or explain one."),
    "optimizers": Lazy(f"{_HERE}._catalogue:optimizers", "List the optimizers, or explain one."),
    "version": Lazy(f"{_HERE}._version:version", "Show the versions of what is installed."),
}
# Their modules need not be imported, nor their parts installed, for the list of commands.
_KNOWN_PLUGINS = {
    "up": Lazy("", "Start a whole stack on this machine.", "all"),
    "server": Lazy("", "Run the gRPC server.", "server"),
    "db": Lazy("", "Look after the server's database.", "server"),
    "worker": Lazy("", "Run a worker.", "worker"),
    "loss": Lazy("", "Try losses out.", "worker"),
    "losses plot": Lazy("", "Draw losses as curves.", "worker"),
}


def _root() -> LazyGroup:
    group = LazyGroup(
        own=_OWN,
        known_plugins=_KNOWN_PLUGINS,
        help="Submit training jobs, follow them, and compare what came of them.",
        epilog=(
            "Exit status: 0 all went well; 1 a job ended otherwise than SUCCEEDED; 2 wrong usage "
            "or spec; 3 not found; 4 no server was reached; 5 another error of the server; 6 the "
            "job's state does not allow it, such as to cancel a job that has ended; 130 Ctrl-C."
        ),
    )

    @click.option(
        "--address",
        metavar="HOST:PORT",
        help="The server. Else TALWEG_ADDRESS, else the stack that `talweg up` started.",
    )
    @click.pass_context
    def begin(context: click.Context, address: str | None) -> None:
        context.obj = Session(address=address)

    group.callback = begin
    group.params = list(reversed(getattr(begin, "__click_params__", [])))
    return group


root = _root()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit status.

    Args:
        arguments: In place of the process's.
    """
    from talweg.client.cli._problems import report

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with root.make_context("talweg", arguments) as context:
            status = root.invoke(context)
            sys.stdout.flush()
            return status if isinstance(status, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # The reader has enough. Python would complain on closing standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        name = root.plugin_of(arguments)
        if (error.name or "").split(".")[0] == "talweg" or not name:
            raise
        problem = missing_extra(name, error, root.extra_of(name))
        problem.show()
        return problem.exit_code
    except Exception as error:
        return report(error)
