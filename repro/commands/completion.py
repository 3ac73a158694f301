"""repro completion"""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context, shell):
    """Print what makes SHELL complete commands, options and the names of nets.

    \b
    bash  eval "$(repro completion bash)"            in ~/.bashrc
    zsh   eval "$(repro completion zsh)"             in ~/.zshrc
    fish  repro completion fish | source             in ~/.config/fish/config.fish
    """
    program = context.find_root()
    click.echo(get_completion_class(shell)(program.command, {}, program.info_name, "_REPRO_COMPLETE").source())
