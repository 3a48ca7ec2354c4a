"""`zpctl train`: submit a run and follow it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from evidence.errors import InvalidInput
from serve.cli import connection, documents, follow, live, options, render, requests
from serve.cli.options import ExitCode, JsonOption
from serve.cli.terminal import Terminal


def train(  # noqa: PLR0913 - one parameter for each option
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="See `zpctl recipes`.")
    ] = None,
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a field, e.g. optimizer.lr=0.01."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A full config, JSON or TOML, in place of RECIPE.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run, for people.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and config give the same run.")
    ] = None,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Return when the run is submitted.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Submit a run and follow it to its end; exits with its result.

    Ctrl-C stops following; the run goes on.
    """
    given = options.of(context)
    request = _request(recipe, config, settings or [], name)
    with connection.connect(given) as client:
        view = client.submit(request, idempotency_key=idempotency_key)
        run_id = view["run_id"]
        if no_follow:
            return _print_submitted(given.terminal, view, json=json)
        given.terminal.progress(f"submitted run {run_id}")
        try:
            run = follow.follow(client, view, given.terminal)
        except KeyboardInterrupt:
            given.terminal.complain(f"the run goes on: zpctl watch {run_id}")
            raise
        view = client.run(run_id)
    if json:
        documents.print_document(given.terminal, view)
    else:
        for line in render.outcome_lines(live.frame_of(given.terminal), run):
            given.terminal.result(line)
        hint = f"verify {run_id}" if view["sealed"] else f"logs {run_id}"
        given.terminal.result(f"  {'Next':<{render.LABEL_WIDTH}}zpctl {hint}")
    return follow.exit_code(run.state)


def _request(
    recipe: str | None, config: Path | None, assignments: list[str], name: str | None
) -> dict[str, Any]:
    """Return the body of the request.

    Raises:
        InvalidInput: There is no recipe and no config, or both.
        OSError: The config cannot be read.
    """
    if (recipe is None) == (config is None):
        found = "neither" if recipe is None else "both"
        raise InvalidInput(
            f"expected RECIPE or --config FILE, found {found}", cure="zpctl recipes    lists them"
        )
    changed = requests.overrides(assignments) | ({"name": name} if name else {})
    if config is None:
        return {"recipe": recipe, "overrides": changed}
    full = requests.read_config(config.read_bytes(), name=config.name)
    requests.merge(full, changed, at="config")
    return full


def _print_submitted(terminal: Terminal, view: dict[str, Any], *, json: bool) -> int:
    if json:
        documents.print_document(terminal, view)
    else:
        terminal.result(view["run_id"])
    return ExitCode.GOOD
