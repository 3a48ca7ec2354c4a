"""`zpctl audit-log`: who did what, when, from where; and whether nobody changed what it says."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from evidence import anchors, canonical
from evidence.keyring import read_history
from evidence.log.note import Verifier
from evidence.trust import read_verifier
from serve import log_entries
from serve.cli import app, connection, documents, live, options, phases, render
from serve.cli.options import ExitCode, JsonOption
from serve.cli.render import Column
from serve.client import Client

group = app.group("Read the audit journal, and verify it.")

_PAGE = 1000
_SHOWN = frozenset({"v", "seq", "prev", "timestamp", "action", "who", "key", "origin", "before"})


@group.command("show")
def show(  # noqa: PLR0913 - one parameter for each option
    context: typer.Context,
    *,
    action: Annotated[
        str | None, typer.Option(help="One action, or what several begin with: `run.`.")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Name of an account.")] = None,
    thing: Annotated[str | None, typer.Option(help="Id or name of what it was done to.")] = None,
    since: Annotated[str | None, typer.Option(metavar="MOMENT", help="From then on, UTC.")] = None,
    until: Annotated[str | None, typer.Option(metavar="MOMENT", help="Before then, UTC.")] = None,
    json: JsonOption = False,
) -> int:
    """Print lines of the audit journal, oldest first."""
    given = options.of(context)
    wanted = {"action": action, "who": who, "thing": thing, "since": since, "until": until}
    with connection.connect(given) as client:
        lines = list(_lines(client, **wanted))
    if json:
        for line in lines:
            documents.print_line(given.terminal, line)
        return ExitCode.GOOD
    if not lines:
        given.terminal.result("no lines")
        return ExitCode.GOOD
    titles = ("WHEN", "WHO", "FROM", "ACTION", "OF")
    rows = [
        [one["timestamp"][:19], one["who"], one.get("origin") or "", one["action"], _what(one)]
        for one in lines
    ]
    columns = [Column(title, is_number=False) for title in titles]
    for text in render.table(live.frame_of(given.terminal), columns, rows):
        given.terminal.result(text)
    return ExitCode.GOOD


@group.command("verify")
def verify(
    context: typer.Context,
    *,
    log_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The log's key that you know, or a file with it."),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Check the whole audit journal: its chain, and every anchor of it in the signed log.

    Exits with 1 where a line was changed, moved or cut off.
    """
    given = options.of(context)
    with (
        connection.connect(given) as client,
        phases.phase(given.terminal, "journal", "fetching the journal and the log") as this,
    ):
        verifier = read_verifier(log_key) if log_key else Verifier.parse(client.log()["key"])
        entries = log_entries.entries_of(client, verifier)
        # Read after the log: what it anchors must be there.
        lines = [canonical.encode(line) for line in _lines(client)]
        found = anchors.verify(lines, entries, read_history(client.keys()))
        this.done = f"{found.lines} lines, {found.anchors} anchors among {len(entries)} entries"
    told = {
        "lines": found.lines,
        "anchors": found.anchors,
        "last_anchored": found.last_anchored,
        "log_entries": len(entries),
        "log_key": verifier.text,
    }
    if json:
        documents.print_document(given.terminal, told)
        return ExitCode.GOOD
    given.terminal.result(
        f"the audit journal is whole: {found.lines} lines, up to line {found.last_anchored} "
        "anchored in the log"
    )
    return ExitCode.GOOD


def _lines(client: Client, **wanted: str | None) -> Iterator[Mapping[str, Any]]:
    after = 0
    while True:
        page = client.audit_journal(after=after, limit=_PAGE, **wanted)
        yield from page["lines"]
        after = page["next_after"]
        if after >= page["last_seq"]:
            return


def _what(line: Mapping[str, Any]) -> str:
    """Return what a line is about, in the order of its fields' names."""
    named = {k: v for k, v in line.items() if k not in _SHOWN | {"after"} and v is not None}
    ids = [str(v) for k, v in named.items() if k.endswith("_id") or k in {"account", "dataset"}]
    state = [str(named["state"])] if "state" in named else []
    return " ".join([*ids, *state])
