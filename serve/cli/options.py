"""What every command is given: the global options, and where output goes; and its exit codes."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from evidence.errors import InvalidInput
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


def require_address(url: str | None, token_file: Path | None) -> None:
    """Make sure that an address is one, and that a token goes to a service that is named.

    Raises:
        InvalidInput: It is not so.
    """
    if url is None and token_file is not None:
        raise InvalidInput(
            f"--token-file {token_file}: expected --url beside it, found none",
            field="token-file",
            cure="leave it out: the local service's token is found by itself",
        )
    if url is not None and not is_address(url):
        raise InvalidInput(
            f"--url: expected an address such as http://127.0.0.1:8000, found {url!r}",
            field="url",
            cure="zpctl --url http://HOST:PORT --token-file FILE ...",
        )


def is_address(url: str) -> bool:
    """Return whether `url` is an http or https address."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def of(context: typer.Context) -> Options:
    """Return the global options of the command that runs."""
    options = context.obj
    assert isinstance(options, Options)
    return options


RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, 12 hex digits.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
