"""`zpctl probe`: asks a service everything over HTTP, and says where it is not what it says."""

import os
import secrets
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from cluster.settings import Settings
from evidence.errors import InvalidInput
from serve import rebuild, tokens
from serve.cli import connection, documents, options, phases, render
from serve.cli.live import frame_of
from serve.cli.options import ExitCode, JsonOption
from serve.cli.render import Mark
from serve.cli.terminal import MAX_WIDTH, Terminal
from serve.probe import report
from serve.probe.contract import Contract
from serve.probe.finding import Result
from serve.probe.probe import Probe
from serve.probe.report import Check, Report, Verdict
from trainers.provenance import describe_code

PHASE = "phase1"
"""Folder below $EVIDENCE_ROOT for what is shown of the first phase."""

_ID_WIDTH = 22
_CURE = "zpctl probe URL --token-file FILE"
_EXIT_CODES = {
    Verdict.PASSED: ExitCode.GOOD,
    Verdict.FAILED: ExitCode.FAILED,
    Verdict.CANNOT_TELL: ExitCode.CANNOT_TELL,
}
_MARKS = {
    Result.PASSED: Mark.VERIFIED,
    Result.FAILED: Mark.FAILED,
    Result.CANNOT_TELL: Mark.WARNING,
}


def probe(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the service.")],
    *,
    token_file: Annotated[
        Path | None, typer.Option(help="File with its token, mode 0600; never written anywhere.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where to; else below $EVIDENCE_ROOT."),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Ask a service everything over HTTP, train three short runs, and check what it answers.

    Answers are held against the API of this checkout. Every exchange is captured, and what differs
    is reported with its file or field, its path and its owner, in report.json and report.md. Exits
    with 0 nothing found, 1 discrepancies, 2 wrong use, 3 no answer, 4 cannot tell.
    """
    terminal = options.of(context).terminal
    _require_address(url)
    token = tokens.read_private(token_file) if token_file is not None else None
    settings, commit = connection.settings(), describe_code()["commit"]
    folder = output or folder_of(settings, commit)
    with (
        tempfile.TemporaryDirectory(prefix="zpctl-") as scratch,
        phases.passing(terminal, "probe", "making the contract of this checkout") as this,
    ):

        def tell(doing: str) -> None:
            this.doing = doing

        made = Probe(
            url=url.rstrip("/"),
            token=token,
            contract=Contract.of_this_checkout(),
            commit=commit,
            folder=folder,
            cache=settings.cache,
            draw=secrets.token_hex,
            describe_model=rebuild.describer(cache=settings.cache, scratch=Path(scratch)),
            tell=tell,
        ).run()
    if json:
        documents.print_document(terminal, made.model_dump(mode="json"))
    else:
        _print(terminal, made, folder)
    return _EXIT_CODES[made.verdict]


def folder_of(settings: Settings, commit: str | None) -> Path:
    """Return where the probe of a commit goes."""
    return settings.evidence_root / PHASE / "verify" / (commit or "unknown")


def _require_address(url: str) -> None:
    """Make sure that the argument is an address without a password in it.

    Raises:
        InvalidInput: It is not.
    """
    if not options.is_address(url):
        raise InvalidInput(
            f"URL: expected an address such as http://127.0.0.1:8000, found {url!r}", cure=_CURE
        )
    if urlsplit(url).username is not None:
        raise InvalidInput("URL: expected no user and password in it", cure=_CURE)


def _print(terminal: Terminal, made: Report, folder: Path) -> None:
    frame = frame_of(terminal)
    for check in made.checks:
        label = f"{check.id:<{_ID_WIDTH}}"
        terminal.result(render.phase(frame, _MARKS[check.result], label, check.title))
        for line in _lines(check):
            terminal.result(line)
    terminal.result()
    terminal.result(f"{made.facts.url}: {made.summary}")
    terminal.result(os.fspath(folder / report.MARKDOWN_FILE))


def _lines(check: Check) -> Iterator[str]:
    """Yield what stands below a check that did not pass, in at most 80 columns."""
    if check.result is Result.CANNOT_TELL:
        yield from wrapped("", check.looked_at)
    for one in check.discrepancies:
        yield from wrapped("", f"{one.owner}: {one.place} {one.field}".rstrip())
        yield from wrapped("expected ", one.expected)
        yield from wrapped("found    ", one.found)
    if check.more:
        yield from wrapped("", f"and {check.more} more")


def wrapped(label: str, text: str) -> list[str]:
    """Return the lines of what stands below a line of the report, in at most 80 columns."""
    indent = f"    {label}"
    return textwrap.wrap(
        text,
        MAX_WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_on_hyphens=False,
    )
