"""Errors for people: what, cause, what to do, in at most six lines; and their exit codes."""

import re
import tempfile
import textwrap
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import typer

from evidence.errors import (
    DeviceMissing,
    IntegrityError,
    ServiceError,
    SourcesExhausted,
    StorageFull,
    Unavailable,
)
from serve.cli.options import ExitCode
from serve.cli.terminal import MAX_WIDTH

MAX_LINES = 6

_FAILED = {"service_error", "limit_exceeded", "trainer_lost", "training_diverged"}
_HELP = {
    "not_found": "zpctl runs    lists the runs",
    "conflict": "zpctl runs    shows what state each run is in",
    "config_error": "zpctl recipes --json    shows every field of a run",
    "invalid_input": "zpctl COMMAND --help    says what is expected",
    "unauthenticated": "zpctl --token-file FILE ...    names the service's token file",
    "unavailable": "zpctl doctor    finds what is missing",
    "service_error": "zpctl status    names the home; its logs have more",
}
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


def lines(error: Exception) -> list[str]:
    """Return what is printed of an error."""
    if isinstance(error, ServiceError):
        return _of_service_error(error)
    if isinstance(error, typer.TyperException):
        message = error.format_message().rstrip(".")
        return _laid_out("wrong use", message, "zpctl --help    lists commands and options")
    if isinstance(error, OSError) and error.filename:
        cause = f"{error.strerror or type(error).__name__}".lower()
        return _laid_out(f"cannot use {error.filename}", cause, "check the path and who may use it")
    cause = f"{type(error).__name__}: {error}"
    return _laid_out("a defect in zpctl", cause, "zpctl --debug ...    writes the trace to a file")


def write_trace(error: BaseException) -> Path:
    """Write the traceback to a new file and return its path."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="zpctl-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.writelines(traceback.format_exception(error))
    return Path(file.name)


def _of_service_error(error: ServiceError) -> list[str]:
    cure = error.cure or _HELP.get(error.code, _DEFAULT_HELP)
    if error.code == Unavailable.code and error.found:
        return _laid_out(error.detail, _of_connection(error.found, error.detail), cure)
    return _laid_out(error.title.lower(), error.detail, cure)


def _of_connection(found: str, detail: str) -> str:
    """Return why there was no connection, in words."""
    address = re.search(r"https?://\S+", detail)
    if "refused" not in found.lower() or address is None:
        return found
    port = urlsplit(address.group()).port
    return f"connection refused; nothing listens on port {port}" if port else "connection refused"


def _laid_out(error: str, cause: str, cure: str) -> list[str]:
    cures = cure.splitlines() or [""]
    room = MAX_LINES - len(cures) - 1
    return [
        *_wrapped("error: ", error, 1),
        *_wrapped("cause: ", cause, room),
        *_wrapped("help:  ", cures[0], 1),
        *(line for more in cures[1:] for line in _wrapped("       ", more, 1)),
    ][:MAX_LINES]


def _wrapped(label: str, text: str, most: int) -> list[str]:
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
