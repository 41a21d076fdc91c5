"""`talweg completion`."""

import click
from click.shell_completion import get_completion_class

from talweg.client.cli._common import say
from talweg.client.cli.completions import COMPLETE_VARIABLE

_INSTALL = {
    "bash": '# Put this line into ~/.bashrc:  eval "$(talweg completion bash)"',
    "zsh": '# Put this line into ~/.zshrc, after compinit:  eval "$(talweg completion zsh)"',
    "fish": "# Run: talweg completion fish > ~/.config/fish/completions/talweg.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash   add to ~/.bashrc:  eval "$(talweg completion bash)"
    zsh    add to ~/.zshrc, after compinit:  eval "$(talweg completion zsh)"
    fish   talweg completion fish > ~/.config/fish/completions/talweg.fish

    Commands, options, experiments, losses and job ids are completed; the last three come from the
    server.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    say(_INSTALL[shell])
    # Click's `source` starts a bash to learn its version; the script itself is the same.
    script = kind(context.find_root().command, {}, "talweg", COMPLETE_VARIABLE)
    say(script.source_template % script.source_vars())
