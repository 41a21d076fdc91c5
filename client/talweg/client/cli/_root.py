"""The root of the command line, and its error handling."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import click

from talweg.client.cli._common import Session
from talweg.client.cli._lazy import Lazy, LazyGroup, missing_extra
from talweg.client.cli.completions import COMPLETE_VARIABLE

_HERE = "talweg.client.cli.commands"
_SWEEPS = f"{_HERE}.sweeps"
_IDENTITY = f"{_HERE}.identity"
_SESSIONS = f"{_HERE}.sessions"
_SYSTEM = f"{_HERE}.system"
_OWN = {
    "submit": Lazy(f"{_HERE}.submit:submit", "Submit job files and sweep files."),
    "init": Lazy(f"{_HERE}.datasets.init:init", "Write a first job file for a data file."),
    "study": Lazy(f"{_SWEEPS}.study:study", "Find out which loss suits data, in a given time."),
    "plan": Lazy(f"{_SWEEPS}.plan:plan", "Tell how many seeds and how much time a sweep needs."),
    "jobs": Lazy(f"{_HERE}.jobs:jobs", "List jobs."),
    "sweeps": Lazy(f"{_SWEEPS}.listing:sweeps", "List sweeps."),
    "trials": Lazy(f"{_SWEEPS}.trials:trials", "List the trials of a sweep."),
    "answer": Lazy(f"{_SWEEPS}.answer:answer", "Print what a sweep has shown."),
    "sessions": Lazy(f"{_SESSIONS}.listing:sessions", "List sessions."),
    "session": Lazy(f"{_SESSIONS}.session:session", "Look at a session, or close it."),
    "report": Lazy(f"{_SWEEPS}.report:report", "Write the report of a sweep as a page."),
    "show": Lazy(f"{_HERE}.show:show", "Show a job or a sweep: state, results, spec."),
    "metrics": Lazy(f"{_HERE}.metrics:metrics", "Print the recorded points of metrics."),
    "open": Lazy(f"{_HERE}.open_:open_", "Open jobs and sweeps in MLflow."),
    "logs": Lazy(f"{_HERE}.logs:logs", "Print the log of a job."),
    "watch": Lazy(f"{_HERE}.control:watch", "Follow jobs and sweeps until they end."),
    "get": Lazy(f"{_HERE}.models.get:get", "Download the files of a job."),
    "predict": Lazy(f"{_HERE}.models.predict:predict", "Predict with the model of a job."),
    "export": Lazy(f"{_HERE}.models.export:export", "Write a job's model as an ONNX file."),
    "register": Lazy(f"{_HERE}.models.register:register", "Register a job's model in MLflow."),
    "cancel": Lazy(f"{_HERE}.control:cancel", "Cancel jobs and sweeps."),
    "pause": Lazy(f"{_HERE}.pausing:pause", "Pause jobs and sweeps until they are resumed."),
    "resume": Lazy(f"{_HERE}.pausing:resume", "Resume paused jobs and sweeps."),
    "continue": Lazy(f"{_HERE}.continue_:continue_", "Continue an ended job from a checkpoint."),
    "replay": Lazy(f"{_HERE}.replay:replay", "Replay a step of a job, row by row."),
    "retry": Lazy(f"{_HERE}.control:retry", "Submit ended jobs or trials again."),
    "rm": Lazy(f"{_HERE}.retention:rm", "Delete ended jobs."),
    "gc": Lazy(f"{_HERE}.retention:gc", "Delete old jobs, but for the best of each experiment."),
    "compare": Lazy(f"{_HERE}.compare:compare", "Compare jobs by a metric."),
    "data": Lazy(f"{_HERE}.datasets.data:data", "Upload data sets of your own, and look at them."),
    "recommend": Lazy(f"{_HERE}.datasets.recommend:recommend", "Recommend losses for data."),
    "losses": Lazy(f"{_HERE}.catalogue:losses", "List the losses, or describe one."),
    "tasks": Lazy(f"{_HERE}.catalogue:tasks", "List the tasks, or describe one."),
    "models": Lazy(f"{_HERE}.catalogue:models", "List the models, or describe one."),
    "datasets": Lazy(f"{_HERE}.catalogue:datasets", "List the data sets, or describe one."),
    "optimizers": Lazy(f"{_HERE}.catalogue:optimizers", "List the optimizers, or describe one."),
    "login": Lazy(f"{_IDENTITY}.login:login", "Keep a server's address and your token."),
    "logout": Lazy(f"{_IDENTITY}.login:logout", "Forget the server and the token."),
    "whoami": Lazy(f"{_IDENTITY}.login:whoami", "Show what you may do on which server."),
    "token": Lazy(f"{_IDENTITY}.token:token", "Create, list and revoke tokens."),
    "project": Lazy(f"{_IDENTITY}.project:project", "List projects, and set their quotas."),
    "audit": Lazy(f"{_IDENTITY}.audit:audit", "List who changed what."),
    "status": Lazy(f"{_SYSTEM}.status:status", "Show what works, and what to do about the rest."),
    "workers": Lazy(f"{_SYSTEM}.workers:workers", "List the workers."),
    "version": Lazy(f"{_SYSTEM}.version:version", "Show the installed versions."),
    "down": Lazy(f"{_SYSTEM}.down:down", "Stop the stack of this machine."),
    "mcp": Lazy(f"{_SYSTEM}.mcp:mcp", "Serve tools for agents (MCP)."),
    "completion": Lazy(f"{_SYSTEM}.completion:completion", "Print a shell's completion script."),
}
# The help lists these without importing their modules, which may not be installed.
_KNOWN_PLUGINS = {
    "up": Lazy("", "Start a complete stack on this machine.", "all"),
    "server": Lazy("", "Run the gRPC server.", "server"),
    "db": Lazy("", "Manage the database of the server.", "server"),
    "cert": Lazy("", "Make certificates for TLS.", "server"),
    "backup": Lazy("", "Write a backup, while everything runs.", "server"),
    "restore": Lazy("", "Restore a backup.", "server"),
    "worker": Lazy("", "Run a worker.", "worker"),
    "loss": Lazy("", "Evaluate losses without a server.", "worker"),
    "losses plot": Lazy("", "Plot losses: value and gradient.", "worker"),
}


def _root() -> LazyGroup:
    group = LazyGroup(
        own=_OWN,
        known_plugins=_KNOWN_PLUGINS,
        help="Submit training jobs, follow them, and compare their results.",
        epilog=(
            "Exit status: 0 success; 1 a job or sweep did not end as SUCCEEDED; 2 wrong usage or "
            "invalid spec; 3 not found; 4 no server reached; 5 another error of the server; 6 the "
            "state of the job does not allow it, such as cancelling an ended job; 130 Ctrl-C."
        ),
    )

    @click.option(
        "--address",
        metavar="HOST:PORT",
        help="The server. Default: TALWEG_ADDRESS, then the stack started by `talweg up`.",
    )
    @click.option(
        "--project",
        help="The project to act in, for a token of all projects. Default: TALWEG_PROJECT.",
    )
    @click.version_option(package_name="talweg", message="talweg %(version)s")
    @click.pass_context
    def begin(context: click.Context, address: str | None, project: str | None) -> None:
        context.obj = Session(address=address, project=project)

    group.callback = begin
    group.params = list(reversed(getattr(begin, "__click_params__", [])))
    return group


root = _root()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Args:
        arguments: The command line; that of the process if None.
    """
    from talweg.client.cli._problems import report

    if instruction := os.environ.get(COMPLETE_VARIABLE):
        from click.shell_completion import shell_complete

        # The words typed so far are in variables of the shell.
        return shell_complete(root, {}, "talweg", COMPLETE_VARIABLE, instruction)
    _fill_streams()
    for stream in (sys.stdout, sys.stderr):
        # An encoding without ± or … must not break a table in the middle.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
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
        # The reader has closed the pipe. Python would print an error at exit.
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


def _fill_streams() -> None:
    """Open to nothing what the caller has closed of the standard streams, as by ``>&-``.

    Python has None in their place, and the next file or connection would get their number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
