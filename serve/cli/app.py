"""The command line as a whole: global options, and the edge where errors become exit codes."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]  # exported unsaid

from serve.cli import failure, options
from serve.cli.options import ExitCode, Options
from serve.cli.terminal import Terminal, of_environment
from serve.version import VERSION

PROGRAM = "zpctl"
COMPLETE = "_ZPCTL_COMPLETE"
"""Environment variable through which a shell asks for completions."""

_HELP = "Training as a service whose claims can be checked."
_EPILOG = (
    "Exit status: 0 good, 1 the checked thing failed, 2 wrong use, 3 service unreachable, "
    "4 cannot tell, 130 interrupted."
)

Command = Callable[..., int] | typer.Typer
"""What does a command, or the group of its sub-commands."""

Load = Callable[[str], Command]


def run(arguments: Sequence[str], summaries: Mapping[str, str], load: Load) -> int:
    """Run the command that the arguments name and return its exit status."""
    is_completing = COMPLETE in os.environ
    wanted = [name for name in summaries if is_completing or name in arguments]
    if is_completing:
        completion_init()
    app = build(summaries, {name: load(name) for name in wanted})
    debug = "--debug" in arguments
    try:
        status = app(
            args=list(arguments) or ["--help"],
            prog_name=PROGRAM,
            complete_var=COMPLETE,
            standalone_mode=False,
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.GOOD
    except Exception as error:  # noqa: BLE001 - the process edge: told, and ended
        return _tell(error, debug=debug, command=next(iter(wanted), None))
    return int(status or 0)


def build(summaries: Mapping[str, str], loaded: Mapping[str, Command]) -> typer.Typer:
    """Return the application; a command that is not loaded can only be listed."""
    app = typer.Typer(
        name=PROGRAM,
        help=_HELP,
        epilog=_EPILOG,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    )
    app.callback()(set_options)
    for name, summary in summaries.items():
        command = loaded.get(name, _only_listed)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, short_help=summary)
        else:
            app.command(name, short_help=summary)(command)
    return app


def group(summary: str) -> typer.Typer:
    """Return a group for sub-commands."""
    return typer.Typer(
        help=summary,
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    )


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"{PROGRAM} {VERSION}")
        raise typer.Exit


def set_options(
    context: typer.Context,
    *,
    url: Annotated[
        str | None,
        typer.Option(envvar="ZPCTL_URL", help="Address of a service; else the local one."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="ZPCTL_TOKEN_FILE", help="File with the token of the service at URL."),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Write the trace of an error to a file, and name it.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Hide progress; results still show.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Training as a service whose claims can be checked."""
    _ = debug, version  # `run` reads debug, since an error may come before this
    options.require_address(url, token_file)
    context.obj = Options(_terminal(is_quiet=quiet), url, token_file)


def _only_listed() -> NoReturn:
    raise AssertionError("a command that was named is loaded")


def _tell(error: Exception, *, debug: bool, command: str | None) -> int:
    stream = _terminal(is_quiet=False)
    for line in failure.lines(error, command=command):
        stream.complain(line)
    if debug:
        stream.complain(f"trace: {failure.write_trace(error)}")
    return failure.exit_code(error)


def _terminal(*, is_quiet: bool) -> Terminal:
    return of_environment(os.environ, out=sys.stdout, err=sys.stderr, is_quiet=is_quiet)
