"""`zpctl runs`, `watch`, `logs`, `cancel`, `resume`: runs that were submitted."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from evidence.clock import moment, utc_now
from evidence.records import RunState
from serve.cli import connection, documents, follow, live, options, render, units
from serve.cli.options import ExitCode, JsonOption, RunArgument
from serve.cli.progress import clock
from serve.cli.render import Column
from serve.cli.terminal import Terminal
from serve.client import Client

_COLUMNS = (
    Column("RUN"),
    Column("STATUS"),
    Column("STEPS", is_number=True),
    Column("LOSS", is_number=True),
    Column("TEST", is_number=True),
    Column("EVIDENCE"),
    Column("AGE", is_number=True),
    Column("NAME"),
)
_LIVE_STATES = {RunState.QUEUED, RunState.RUNNING}
_REFRESH_S = 1.0
_MOST_RUNS = 100
_PAGE = 1000
_TABLE_FRAME = 2
"""Lines of a table that are not rows: its head, and the count of the rest."""


def runs(
    context: typer.Context,
    *,
    status: Annotated[RunState | None, typer.Option(help="Only runs with it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most runs.")] = 20,
    json: JsonOption = False,
) -> int:
    """List runs, newest first."""
    given = options.of(context)
    with connection.connect(given) as client:
        page = client.runs(status=status, limit=limit)
    if json:
        documents.print_document(given.terminal, page)
        return ExitCode.GOOD
    if not page["runs"]:
        given.terminal.result(_no_runs(f" that are {status}" if status else ""))
        return ExitCode.GOOD
    for line in [*_table(given.terminal, page["runs"]), *_waiting(given.terminal, page["runs"])]:
        given.terminal.result(line)
    rest = page["total"] - len(page["runs"])
    if rest:
        given.terminal.result(f"+{rest} more")
    return ExitCode.GOOD


def watch(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id.")] = None,
    *,
    json: JsonOption = False,
) -> int:
    """Follow a run to its end and exit with its result; without RUN, show all runs.

    With --json, one line for each event. Without RUN it ends when nothing runs or waits.
    """
    given = options.of(context)
    with connection.connect(given) as client:
        if run is None:
            return _watch_all(client, given.terminal, json=json)
        return _watch_one(client, given.terminal, run, json=json)


def logs(context: typer.Context, run: RunArgument, *, json: JsonOption = False) -> int:
    """Print the log lines and changes of state of a run, oldest first."""
    given = options.of(context)
    records: list[dict[str, Any]] = []
    with connection.connect(given) as client:
        while page := client.logs(run, after=records[-1]["seq"] if records else 0)["logs"]:
            records += page
            if len(page) < _PAGE:
                break
    if json:
        documents.print_document(given.terminal, {"run_id": run, "logs": records})
        return ExitCode.GOOD
    for record in records:
        given.terminal.result(f"{clock(record['timestamp'])} {_log_text(record)}")
    return ExitCode.GOOD


def cancel(context: typer.Context, run: RunArgument, *, json: JsonOption = False) -> int:
    """End a run for good and seal what it has."""
    given = options.of(context)
    with connection.connect(given) as client:
        return _print_view(given.terminal, client.cancel(run), json=json)


def resume(context: typer.Context, run: RunArgument, *, json: JsonOption = False) -> int:
    """Put an interrupted or failed run back into the queue; it goes on from its checkpoint."""
    given = options.of(context)
    with connection.connect(given) as client:
        return _print_view(given.terminal, client.resume(run), json=json)


def _watch_one(client: Client, terminal: Terminal, run_id: str, *, json: bool) -> int:
    view = client.run(run_id)
    if json:
        state = RunState(view["status"])
        for event in client.follow(run_id):
            documents.print_line(terminal, event.data)
            state = RunState(event.data.get("state", state))
        return follow.exit_code(state)
    run = follow.follow(client, view, terminal, with_events=True)
    for line in render.outcome_lines(live.frame_of(terminal), run):
        terminal.result(line)
    return follow.exit_code(run.state)


def _watch_all(client: Client, terminal: Terminal, *, json: bool) -> int:
    if json:
        return _watch_changes(client, terminal)
    views = client.runs(limit=_MOST_RUNS)["runs"]
    if not views:
        terminal.result(_no_runs())
        return ExitCode.GOOD
    most = terminal.height - _TABLE_FRAME - 1

    def block() -> list[Text]:
        return _shown(terminal, views, most=most)

    with live.showing(terminal, block, lambda: _count_line(views)):
        while _is_any_live(views):
            time.sleep(_REFRESH_S)
            views = client.runs(limit=_MOST_RUNS)["runs"]
    for line in block():
        terminal.result(line)
    return ExitCode.GOOD


def _watch_changes(client: Client, terminal: Terminal) -> int:
    """Print each change of a run's state, until none runs or waits."""
    after = client.readiness()["checks"]["manager"]["audit_seq"]
    views = client.runs(limit=_MOST_RUNS)["runs"]
    going_on = {view["run_id"] for view in views if view["status"] in _LIVE_STATES}
    for event in client.follow(None, after=after) if going_on else ():
        documents.print_line(terminal, event.data)
        going_on.add(event.data["run_id"])
        if event.data["state"] not in _LIVE_STATES:
            going_on.discard(event.data["run_id"])
        if not going_on:
            break
    return ExitCode.GOOD


def _table(
    terminal: Terminal, views: Sequence[Mapping[str, Any]], *, most: int = _MOST_RUNS
) -> list[Text]:
    rows = [_cells(terminal, view) for view in views]
    lines = render.table(live.frame_of(terminal), _COLUMNS, rows, most=most)
    for line, view in zip(lines[1:], views, strict=False):
        start = line.plain.find(view["status"])
        line.stylize(render.state_style(view["status"]), start, start + len(view["status"]))
    return lines


def _shown(terminal: Terminal, views: Sequence[Mapping[str, Any]], *, most: int) -> list[Text]:
    """Return the table and what runs wait for, in at most as many rows as there is room for."""
    waiting = _waiting(terminal, views)[: most // 2]
    return [*_table(terminal, views, most=most - len(waiting)), *waiting]


def _waiting(terminal: Terminal, views: Sequence[Mapping[str, Any]]) -> list[Text]:
    """Return what queued runs wait for, each reason once."""
    reasons: dict[str, list[str]] = {}
    for view in views:
        if view["pending_reason"]:
            reasons.setdefault(view["pending_reason"], []).append(view["run_id"])
    frame = live.frame_of(terminal)
    told = [
        f"{ids[0] if len(ids) == 1 else f'{len(ids)} runs'} waiting: {reason}"
        for reason, ids in reasons.items()
    ]
    return [Text(line, "dim") for one in told for line in render.wrapped(frame, one, indent="")]


def _no_runs(only: str = "") -> str:
    return f"no runs{only}; zpctl train mnist_mlp starts one"


def _cells(terminal: Terminal, view: Mapping[str, Any]) -> list[str]:
    last = view["last_metrics"]
    loss = last.get("train", {}).get("loss")
    accuracy = last.get("test", {}).get("accuracy")
    since = (utc_now() - moment(view["timings"]["created"])).total_seconds()
    return [
        view["run_id"],
        render.state_cell(terminal.glyphs, view["status"]),
        f"{view['step']}/{view['steps']}",
        f"{loss:.4f}" if loss is not None else "",
        f"{100 * accuracy:.1f} %" if accuracy is not None else "",
        "sealed" if view["sealed"] else "open",
        units.age(since),
        view["name"],
    ]


def _count_line(views: Sequence[Mapping[str, Any]]) -> str:
    counts = {
        state: sum(view["status"] == state for view in views)
        for state in (RunState.RUNNING, RunState.QUEUED)
    }
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{live.time_of_day()} {told}"


def _is_any_live(views: Sequence[Mapping[str, Any]]) -> bool:
    return any(view["status"] in _LIVE_STATES for view in views)


def _log_text(record: Mapping[str, Any]) -> str:
    if record["kind"] == "status":
        return f"status {record['state']}: {record['reason']}"
    if record["kind"] == "log":
        return f"{record['level']} {record['name']}: {record['message']}"
    return f"{record['kind']} {record.get('state', '')}".rstrip()


def _print_view(terminal: Terminal, view: Mapping[str, Any], *, json: bool) -> int:
    if json:
        documents.print_document(terminal, view)
    else:
        terminal.result(f"run {view['run_id']} is {view['status']}: {view['reason']}")
    return ExitCode.GOOD
