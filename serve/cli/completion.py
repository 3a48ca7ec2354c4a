"""`zpctl completion`: what a shell needs to complete commands and options."""

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import (  # type: ignore[attr-defined]  # typer does not say what it exports
    get_completion_script,
)

from serve.cli import options
from serve.cli.app import COMPLETE, PROGRAM
from serve.cli.options import ExitCode


class Shell(StrEnum):
    """Shells that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    context: typer.Context, shell: Annotated[Shell, typer.Argument(help="Your shell.")]
) -> int:
    """Print the completion script of a shell.

    For bash, once: zpctl completion bash >> ~/.bash_completion
    """
    script = get_completion_script(prog_name=PROGRAM, complete_var=COMPLETE, shell=shell)
    options.of(context).terminal.result(script)
    return ExitCode.GOOD
