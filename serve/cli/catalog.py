"""`zpctl recipes`, `datasets`, `fetch`, `nodes`, `models`: what runs are made of, and what came."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from serve.cli import connection, documents, fetching, live, options, phases, render, units
from serve.cli.options import ExitCode, JsonOption, Options
from serve.cli.render import Column
from serve.client import Client

Cells = Callable[[Mapping[str, Any]], list[str]]


def recipes(context: typer.Context, *, json: JsonOption = False) -> int:
    """List the recipes, each with every default filled in under --json."""
    columns = _columns("RECIPE", "DATA", "MODEL", "#STEPS", "#BATCH", "OPTIMIZER", "#LR")

    def cells(recipe: Mapping[str, Any]) -> list[str]:
        config = recipe["config"]
        optimizer = config["optimizer"]
        sizes = (config["steps"], config["batch_size"])
        model = config["model"]["architecture"]
        how = (optimizer["name"], f"{optimizer['lr']:g}")
        return [recipe["name"], config["dataset"], model, *map(str, sizes), *how]

    return _list(options.of(context), Client.recipes, "recipes", columns, cells, json=json)


def datasets(context: typer.Context, *, json: JsonOption = False) -> int:
    """List the data sets and whether they are here."""
    columns = _columns("DATA", "STATE", "#FILES", "#SIZE", "LICENCE", "TITLE")

    def cells(view: Mapping[str, Any]) -> list[str]:
        files = view["files"].values()
        size = units.size(sum(file["bytes"] for file in files))
        state = view["state"] if view["error"] is None else f"{view['state']}, fetch failed"
        return [view["name"], state, str(len(files)), size, view["licence"], view["title"]]

    return _list(options.of(context), Client.datasets, "datasets", columns, cells, json=json)


def fetch(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="See `zpctl datasets`.")],
    *,
    json: JsonOption = False,
) -> int:
    """Fetch a data set and verify every file's SHA-256."""
    given = options.of(context)
    with (
        connection.connect(given) as client,
        phases.phase(given.terminal, "data", f"asking for {name}") as this,
    ):
        view = fetching.fetch(client, name, this)
        this.done = fetching.describe(view)
    if json:
        documents.print_document(given.terminal, view)
    else:
        given.terminal.result(f"{name} is {view['state']}")
    return ExitCode.GOOD


def nodes(context: typer.Context, *, json: JsonOption = False) -> int:
    """List the nodes and what their devices can do, as probed with a real kernel."""
    columns = _columns("NODE", "#CPU", "#GPU", "#MEMORY", "DEVICES")

    def cells(node: Mapping[str, Any]) -> list[str]:
        held = node["resources"]
        devices = ", ".join(f"{one['device']} {one['state']}" for one in node["devices"])
        counts = [f"{held.get(name, 0):g}" for name in ("CPU", "GPU")]
        return [node["node_id"][:8], *counts, units.size(int(held.get("memory", 0))), devices]

    return _list(options.of(context), Client.nodes, "nodes", columns, cells, json=json)


def models(context: typer.Context, *, json: JsonOption = False) -> int:
    """List the models of runs that succeeded."""
    columns = _columns("RUN", "MODEL", "DATA", "#STEP", "#TEST", "SHA-256", "NAME")

    def cells(model: Mapping[str, Any]) -> list[str]:
        accuracy = model["test_accuracy"]
        reached = units.percent(accuracy) if accuracy is not None else ""
        what = [model["run_id"], model["architecture"], model["dataset"], str(model["step"])]
        return [*what, reached, model["sha256"][:8], model["name"]]

    return _list(options.of(context), Client.models, "models", columns, cells, json=json)


def _columns(*titles: str) -> list[Column]:
    """Return columns; a title that begins with # is of numbers."""
    return [Column(title.lstrip("#"), is_number=title.startswith("#")) for title in titles]


def _list(
    given: Options,
    ask: Callable[[Client], dict[str, Any]],
    key: str,
    columns: Sequence[Column],
    cells: Cells,
    *,
    json: bool,
) -> int:
    """Print what the service answers, as a document or as a table."""
    with connection.connect(given) as client:
        answer = ask(client)
    if json:
        documents.print_document(given.terminal, answer)
        return ExitCode.GOOD
    if not answer[key]:
        given.terminal.result(f"no {key}")
        return ExitCode.GOOD
    rows = [cells(one) for one in answer[key]]
    for line in render.table(live.frame_of(given.terminal), columns, rows):
        given.terminal.result(line)
    return ExitCode.GOOD
