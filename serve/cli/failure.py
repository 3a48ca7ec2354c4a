"""Errors for people: what, cause, what to do, in at most six lines; and their exit codes."""

import re
import tempfile
import textwrap
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import typer

from evidence.errors import (
    ConfigError,
    DeviceMissing,
    IntegrityError,
    InvalidInput,
    ServiceError,
    SourcesExhausted,
    StorageFull,
    Unavailable,
)
from serve.cli.options import ExitCode
from serve.cli.terminal import MAX_WIDTH

MAX_LINES = 6

_USAGE = "zpctl --help    lists commands and options"
_FAILED = {"service_error", "limit_exceeded", "trainer_lost", "training_diverged"}
_HELP = {
    "not_found": "zpctl runs    lists the runs",
    "conflict": "zpctl runs    shows what state each run is in",
    "config_error": "zpctl recipes --json    shows every field of a run",
    "unauthenticated": "zpctl --token-file FILE ...    names the service's token file",
    "unavailable": "zpctl doctor    finds what is missing",
    "service_error": "zpctl status    names the home; its logs have more",
}
_HELP_OF_FIELD = {
    "dataset": "zpctl datasets    lists the data sets",
    "recipe": "zpctl recipes    lists the recipes",
    "step": "zpctl watch RUN    shows the newest; without --step it is taken",
}
"""Help for what a field names, where the code alone says too little."""

_SETTINGS_HELP = "docs/settings.md lists every setting with its form"
_DEFAULT_HELP = "zpctl doctor    finds what is missing"


def exit_code(error: Exception) -> ExitCode:
    """Return the exit status of a command that ended with an error."""
    if isinstance(error, typer.TyperException | OSError):
        return ExitCode.WRONG_USE
    if not isinstance(error, ServiceError) or error.code in _FAILED:
        return ExitCode.FAILED
    failed = (IntegrityError, DeviceMissing, StorageFull, SourcesExhausted)
    if isinstance(error, failed):
        return ExitCode.FAILED
    return ExitCode.UNREACHABLE if isinstance(error, Unavailable) else ExitCode.WRONG_USE


def lines(error: Exception, *, command: str | None = None) -> list[str]:
    """Return what is printed of an error.

    Args:
        error: What happened.
        command: The command that it happened in, for what to read about it.
    """
    usage = f"zpctl {command} --help    says what is expected" if command else _USAGE
    if isinstance(error, ServiceError):
        return _of_service_error(error, usage)
    if isinstance(error, typer.TyperException):
        return laid_out("wrong use", error.format_message().rstrip("."), usage)
    if isinstance(error, OSError) and error.filename:
        cause = f"{error.strerror or type(error).__name__}".lower()
        return laid_out(f"cannot use {error.filename}", cause, "check the path and who may use it")
    cause = f"{type(error).__name__}: {error}"
    return laid_out("a defect in zpctl", cause, "zpctl --debug ...    writes the trace to a file")


def laid_out(error: str, cause: str, cure: str) -> list[str]:
    """Return what, why and what to do as lines, at most six.

    The cause is cut first, then the error, then the help.
    """
    first, *more = cure.splitlines() or [""]
    help_lines = _wrapped("help:  ", first)
    help_lines += [line for one in more for line in _wrapped("       ", one)]
    help_lines = help_lines[: MAX_LINES - 2]
    error_lines = _wrapped("error: ", error, most=MAX_LINES - 1 - len(help_lines))
    room = MAX_LINES - len(error_lines) - len(help_lines)
    return [*error_lines, *_wrapped("cause: ", cause, most=room), *help_lines]


def write_trace(error: BaseException) -> Path:
    """Write the traceback to a new file and return its path."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="zpctl-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.writelines(traceback.format_exception(error))
    return Path(file.name)


def _of_service_error(error: ServiceError, usage: str) -> list[str]:
    cure = error.cure or _cure_of(error, usage)
    if error.code == Unavailable.code and error.found:
        return laid_out(error.detail, _of_connection(error.found, error.detail), cure)
    return laid_out(error.title.lower(), error.detail, cure)


def _cure_of(error: ServiceError, usage: str) -> str:
    """Return what to read about an error that brings no cure."""
    field = error.field or error.detail.partition(":")[0]
    if field in _HELP_OF_FIELD:
        return _HELP_OF_FIELD[field]
    if error.code == InvalidInput.code:
        return usage
    if error.code == ConfigError.code and field.isupper():
        return _SETTINGS_HELP
    return _HELP.get(error.code, _DEFAULT_HELP)


def _of_connection(found: str, detail: str) -> str:
    """Return why there was no connection, in words."""
    address = re.search(r"https?://\S+", detail)
    if "refused" not in found.lower() or address is None:
        return found
    port = urlsplit(address.group()).port
    return f"connection refused; nothing listens on port {port}" if port else "connection refused"


def _wrapped(label: str, text: str, *, most: int = MAX_LINES) -> list[str]:
    if len(label) + len(text) <= MAX_WIDTH and "\n" not in text:
        return [label + text]  # as it is: help is laid out in columns
    return textwrap.wrap(
        text,
        MAX_WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        max_lines=most,
        placeholder=" ...",
        break_on_hyphens=False,
    )
