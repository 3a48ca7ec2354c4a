"""`zpctl gc`: retention."""

from typing import Annotated

import typer

from evidence.errors import InvalidInput
from serve.cli import connection, documents, options, units
from serve.cli.options import ExitCode, JsonOption


def collect(
    context: typer.Context,
    *,
    keep_runs: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Keep the N newest ended runs.")
    ] = None,
    max_age: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Keep runs that ended since, e.g. 12h, 7d.")
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Keep the newest in all this big, e.g. 10GB.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    json: JsonOption = False,
) -> int:
    """Delete ended runs beyond a policy; each leaves a tombstone with its seal's digest.

    A run is deleted if any of the options says so. Live and interrupted runs stay.
    """
    if keep_runs is None and max_age is None and max_bytes is None:
        raise InvalidInput(
            "expected a policy, found none",
            cure="zpctl gc --keep-runs 20 --dry-run    says which runs would go",
        )
    policy = {
        "keep_runs": keep_runs,
        "max_age_s": units.read_span(max_age) if max_age is not None else None,
        "max_bytes": units.read_size(max_bytes) if max_bytes is not None else None,
    }
    given = options.of(context)
    with connection.connect(given) as client:
        answer = client.collect(policy, dry_run=dry_run)
    if json:
        documents.print_document(given.terminal, answer)
        return ExitCode.GOOD
    for tombstone in answer["deleted"]:
        verb = "would delete" if dry_run else "deleted"
        given.terminal.result(f"{verb} {tombstone['run_id']}: {tombstone['reason']}")
    if not answer["deleted"]:
        given.terminal.result("nothing to delete")
    return ExitCode.GOOD
