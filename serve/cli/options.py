"""What every command is given: the global options, and where output goes; and its exit codes."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer

from serve.cli.terminal import Terminal


class ExitCode(IntEnum):
    """Exit status of `zpctl`."""

    GOOD = 0
    FAILED = 1
    """The checked thing failed: a run, a pack, the machine."""
    WRONG_USE = 2
    UNREACHABLE = 3
    """The service does not answer."""
    CANNOT_TELL = 4
    """A pack is not sealed."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C or SIGTERM."""


@dataclass(frozen=True, slots=True)
class Options:
    """The global options."""

    terminal: Terminal
    url: str | None
    """Address of the service; None is the local one."""
    token_file: Path | None
    """Where its token stands."""


def of(context: typer.Context) -> Options:
    """Return the global options of the command that runs."""
    options = context.obj
    assert isinstance(options, Options)
    return options


RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, 12 hex digits.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
