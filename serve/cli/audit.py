"""`zpctl audit`: windows of a run done again on this machine, and compared to the last bit."""

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Annotated

import httpx
import typer

from cluster.settings import Settings
from evidence import canonical
from evidence.files import write_atomic
from evidence.report import check_lines
from evidence.signing import PublicKey
from evidence.verify import RULES
from serve import rebuild
from serve.cli import (
    audit_text,
    connection,
    failure,
    live,
    options,
    packs,
    phases,
    signals,
)
from serve.cli.options import JsonOption
from serve.cli.packs import Trust
from serve.cli.terminal import Terminal
from trainers.audit import Audit, Auditor
from trainers.audit_report import AuditReport
from trainers.config import RunConfig
from trainers.data import fetch
from trainers.windows import Request

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 60.0


def audit(  # noqa: PLR0913 - one parameter for each option
    context: typer.Context,
    pack: Annotated[
        str,
        typer.Argument(metavar="PACK", help="A run folder, a zip, a run's id, or its address."),
    ],
    *,
    windows: Annotated[
        int | None, typer.Option(metavar="K", help="Do K windows, picked at random; else 3.")
    ] = None,
    begin: Annotated[
        int | None, typer.Option("--from", metavar="STEP", help="Do the windows from this step on.")
    ] = None,
    end: Annotated[
        int | None, typer.Option("--to", metavar="STEP", help="Do the windows up to this step.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Do all windows.")] = False,
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file of the key that must have signed.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report there too, as JSON.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Do windows of a run again on this machine and compare them to the last bit.

    A window lies between two checkpoints. Weights, optimiser and measures must be equal. The pack
    is verified first; its code is never run: this code must be the one that made it.
    Exits with 0 all equal, 1 a mismatch or a failed check, 2 wrong use, 4 cannot tell.
    """
    given = options.of(context)
    request = Request(windows, begin, end, everything)
    with tempfile.TemporaryDirectory(prefix="zpctl-") as scratch:
        path, trust = packs.locate(given, pack, scratch=Path(scratch))
        if public_key is not None:
            trust = Trust(PublicKey.from_pem(public_key.read_bytes()), "the given key")
        auditor = _auditor(connection.settings(), trust, scratch=Path(scratch))
        with signals.stopping_once():
            told = _made(Audit(path, request, auditor), given.terminal, shows=not json)
    data = canonical.encode(told.as_json())
    if report is not None:
        write_atomic(report, data)
    if json:
        given.terminal.result(data.decode())
    else:
        _print_end(given.terminal, told, trust)
    return told.exit_code


def _auditor(settings: Settings, trust: Trust, *, scratch: Path) -> Auditor:
    """Return who audits here: by the settings of this machine, and its randomness."""

    def bring(config: RunConfig) -> None:
        if config.data is not None:
            found = (config.dataset, config.data)
            fetch.find_own(*found, cache=settings.cache, search_path=settings.search_path)
            return
        timeout = httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        with httpx.Client(timeout=timeout, follow_redirects=True) as client:
            fetch.fetch(
                config.dataset,
                cache=settings.cache,
                search_path=settings.search_path,
                client=client,
                npm=shutil.which("npm"),
            )

    return Auditor(
        cache=settings.cache,
        bring=bring,
        describe_model=rebuild.describer(cache=settings.cache, scratch=scratch),
        public_key=trust.key,
        library=settings.kernel_library,
    )


def _made(audit: Audit, terminal: Terminal, *, shows: bool) -> AuditReport:
    """Make an audit, showing what goes on, and each window as it is done."""
    with phases.passing(terminal, "evidence", RULES[0].title) as this:
        for check in audit.checks():
            following = RULES[min(check.number, len(RULES) - 1)]
            this.doing = f"check {following.number} of {len(RULES)}: {following.title}"
    planned = audit.choice.windows if audit.choice is not None else ()
    with closing(audit.windows()) as results:
        for number, window in enumerate(planned, 1):
            doing = f"window {number} of {len(planned)}: steps {window}"
            with phases.passing(terminal, "replay", doing):
                result = next(results, None)
            if result is None:
                break
            if shows:
                for line in audit_text.window_lines(live.frame_of(terminal), number, result):
                    terminal.result(line)
        assert next(results, None) is None, "there is one result for each window"
    return audit.report()


def _print_end(terminal: Terminal, report: AuditReport, trust: Trust) -> None:
    """Print the verdict and what it rests on; and where it cannot tell, what is missing."""
    for check in report.failed:
        for line in check_lines(check, colour=terminal.is_out_coloured):
            terminal.result(line)
    for text in audit_text.closing_lines(live.frame_of(terminal), report):
        terminal.result(text)
    if report.key_id is not None:
        terminal.result(f"Signed by key {report.key_id}")
        terminal.result(f"It is {trust.why}.")
    for one in report.missing:
        for line in failure.laid_out("cannot tell", one.detail, one.cure):
            terminal.complain(line)
