"""`zpctl report`: how far the first phase is, computed from what probes and benchmarks left."""

from pathlib import Path
from typing import Annotated

import typer

from evidence import canonical
from evidence.errors import Conflict, InvalidInput
from evidence.files import write_atomic
from serve.cli import connection, options
from serve.cli.live import frame_of
from serve.cli.options import ExitCode
from serve.cli.probe import PHASE, folder_of, wrapped
from serve.cli.render import Mark, phase
from serve.cli.terminal import Terminal
from serve.probe import progress
from serve.probe import report as probed
from serve.probe.progress import Line, Sources, Standing
from trainers.provenance import REPOSITORY, describe_code

ACKNOWLEDGEMENTS = Path("acknowledgements") / "response.json"
"""Below the phase's folder: what reviewers acknowledged."""

_UNSIGNED = "no registered reviewer has signed"
_MARKS = {
    Standing.PASSED: Mark.VERIFIED,
    Standing.FAILED: Mark.FAILED,
    Standing.CANNOT_TELL: Mark.WARNING,
    Standing.NOT_RUN: Mark.ENDED,
}


def report(
    context: typer.Context,
    *,
    results: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of benchmark results.")
    ] = REPOSITORY / "benchmarks" / "results",
) -> int:
    """Write progress.json and STATUS.md of the first phase below $EVIDENCE_ROOT.

    Each line is computed from the probe's report for the present commit, or from the results of
    benchmarks; what has no result is `not run`, with the reason. Exits with 1 if a criterion
    failed, 4 if none did and one is open.
    """
    terminal = options.of(context).terminal
    settings, commit = connection.settings(), describe_code()["commit"]
    folder = settings.evidence_root / PHASE
    sources = Sources(folder_of(settings, commit) / probed.JSON_FILE, results, commit)
    made = progress.lines(progress.read_criteria(), sources)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "progress.json", progress.progress_json(made, commit=commit))
    status = progress.status_markdown(made, commit=commit)
    write_atomic(folder / "STATUS.md", status.encode())
    _keep_acknowledgements(folder / ACKNOWLEDGEMENTS)
    _print(terminal, made)
    terminal.result(str(folder / "STATUS.md"))
    standings = {line.result for line in made}
    if Standing.FAILED in standings:
        return ExitCode.FAILED
    return ExitCode.GOOD if standings == {Standing.PASSED} else ExitCode.CANNOT_TELL


def _keep_acknowledgements(path: Path) -> None:
    """Write the empty list of acknowledgements; one that a reviewer signed is never replaced.

    Raises:
        Conflict: What stands there is no such list.
        OSError: It cannot be read or written.
    """
    if path.exists():
        try:
            held = canonical.decode_object(path.read_bytes())["acknowledgements"]
        except (InvalidInput, KeyError) as error:
            raise Conflict(f"{path}: expected a list of acknowledgements, found none") from error
        if held:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"v": 1, "acknowledgements": [], "reason": _UNSIGNED}
    write_atomic(path, canonical.encode(record))


def _print(terminal: Terminal, made: list[Line]) -> None:
    frame = frame_of(terminal)
    for line in made:
        terminal.result(phase(frame, _MARKS[line.result], line.result, line.criterion))
        if line.result is not Standing.PASSED:
            for told in wrapped("", line.detail):
                terminal.result(told)
