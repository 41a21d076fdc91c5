"""A command group that imports commands only when they are called."""

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

PLUGIN_GROUP = "talweg.commands"


class Lazy(NamedTuple):
    """A command that is not yet imported."""

    target: str
    """``module:attribute``; empty for a plug-in, which has an entry point."""
    help: str
    """One line."""
    extra: str = ""
    """The extra with the packages that the command needs."""


class LazyGroup(click.Group):
    """Built-in commands from a table, plug-ins from entry points.

    The name of a plug-in may have two words, the first of which may be a built-in command:
    `losses plot`.
    """

    def __init__(
        self, *, own: Mapping[str, Lazy], known_plugins: Mapping[str, Lazy], help: str, epilog: str
    ) -> None:
        """Take the tables.

        Args:
            own: The built-in commands, in the order of the help.
            known_plugins: The help of plug-in commands, to show it without importing them.
            help: The purpose of the program.
            epilog: The text below the commands.
        """
        super().__init__(
            name="talweg",
            help=help,
            epilog=epilog,
            no_args_is_help=True,
            # Commands inherit it.
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        self._own = own
        self._known_plugins = known_plugins

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List built-in commands and installed plug-ins."""
        return [*self._own, *sorted(set(_plugins()) - set(self._own))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        own = self._own.get(cmd_name)
        if own is not None:
            module, _, attribute = own.target.partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        entry = _plugins().get(cmd_name)
        return None if entry is None else self._load(entry)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the closest one."""
        pair = " ".join(args[:2])
        if len(args) > 1 and pair in _plugins():
            return pair, self.get_command(ctx, pair), args[2:]
        name = args[0]
        if not name.startswith("-") and name not in (known := self.list_commands(ctx)):
            # This import takes a moment, which known commands need not pay.
            from talweg.spec.spelling import nearest  # noqa: PLC0415 - as said above

            message = f"No such command '{name}'. {nearest(name, known)}"
            raise click.UsageError(message.rstrip(), ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Suggest commands without importing them."""
        helps = {name: lazy.help for name, lazy in self._own.items()}
        helps |= {
            name: known.help if (known := self._known_plugins.get(name)) else ""
            for name in _plugins()
            if " " not in name
        }
        commands = [
            CompletionItem(name, help=text)
            for name, text in helps.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing those whose help is known."""
        plugins = [name for name in self.list_commands(ctx) if name not in self._own]
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in self._own.items()])
        if plugins:
            with formatter.section("Commands of installed components"):
                formatter.write_dl([(name, self._plugin_help(name)) for name in plugins])

    def extra_of(self, name: str) -> str:
        """Return the extra that a plug-in command needs."""
        known = self._known_plugins.get(name)
        return known.extra if known else "all"

    def plugin_of(self, arguments: Sequence[str]) -> str:
        """Return the name of the plug-in command that a command line calls; '' if none."""
        known = _plugins()
        for name, pair in pairwise([*arguments, ""]):
            if f"{name} {pair}" in known:
                return f"{name} {pair}"
            if name in self._own or name in known:
                return "" if name in self._own else name
        return ""

    def _plugin_help(self, name: str) -> str:
        if name in self._known_plugins:
            return self._known_plugins[name].help
        try:
            return self._load(_plugins()[name]).get_short_help_str(limit=70)
        except (click.ClickException, ImportError, AttributeError):
            return "(cannot be loaded)"

    def _load(self, entry: EntryPoint) -> click.Command:
        try:
            command: click.Command = entry.load()
        except ModuleNotFoundError as error:
            name = _spaced(entry.name)
            raise missing_extra(name, error, self.extra_of(name)) from error
        return command


class _Missing(click.ClickException):
    exit_code = 2


def missing_extra(command: str, error: ModuleNotFoundError, extra: str) -> click.ClickException:
    """Return the error of a command with missing packages."""
    return _Missing(
        f"`talweg {command}` needs {error.name}, which is not installed here."
        f" Install it with: pip install 'talweg[{extra}]'"
    )


def _plugins() -> dict[str, EntryPoint]:
    return _found_in(tuple(sys.path))


# It reads a file of each installed package, and is asked several times a command.
@cache
def _found_in(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    return {_spaced(entry.name): entry for entry in entry_points(group=PLUGIN_GROUP)}


def _spaced(name: str) -> str:
    # Names of entry points have no spaces.
    return name.replace(".", " ")
