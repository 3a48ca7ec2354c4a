"""`zpctl proposals`: propose a change, have it reviewed, vote, and see what it allows."""

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from evidence.errors import InvalidInput
from governance.proposals.consensus import State
from governance.proposals.schema import Answer, ChangeType, Harm, Side, Verdict
from serve.cli import app, connection, documents, live, options, phases, render, requests
from serve.cli.options import ExitCode, JsonOption, Options, RunArgument
from serve.cli.render import Column

group = app.group("Propose changes, review them, vote.")

ProposalArgument = Annotated[str, typer.Argument(metavar="PROPOSAL", help="A proposal's id.")]


@group.command("list")
def list_proposals(  # noqa: PLR0913 - one parameter for each option
    context: typer.Context,
    *,
    state: Annotated[State | None, typer.Option(help="Only those in it.")] = None,
    author: Annotated[str | None, typer.Option(help="Only those of an account.")] = None,
    change_type: Annotated[ChangeType | None, typer.Option(help="Only those of a kind.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only those about a data set.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="Most that are listed.")] = 20,
    json: JsonOption = False,
) -> int:
    """List proposals, newest first."""
    given = options.of(context)
    with connection.connect(given) as client:
        page = client.proposals(
            {"state": state, "author": author, "change_type": change_type, "dataset": dataset},
            limit=limit,
        )
    if json:
        documents.print_document(given.terminal, page)
        return ExitCode.GOOD
    if not page["proposals"]:
        given.terminal.result("no proposals")
        return ExitCode.GOOD
    rows = [
        [one["proposal_id"], one["state"], one["author"], one["title"]] for one in page["proposals"]
    ]
    columns = [Column(title, is_number=False) for title in ("PROPOSAL", "STATE", "AUTHOR", "TITLE")]
    for line in render.table(live.frame_of(given.terminal), columns, rows):
        given.terminal.result(line)
    return ExitCode.GOOD


@group.command("show")
def show(context: typer.Context, proposal: ProposalArgument, *, json: JsonOption = False) -> int:
    """Show a proposal, its votes with their reasons, and what it allows."""
    given = options.of(context)
    with connection.connect(given) as client:
        view = client.proposal(proposal)
    return _tell(given, view, json=json)


@group.command("draft")
def draft(context: typer.Context, run: RunArgument) -> int:
    """Print a draft filled in from a finished run; what is left to the author is empty.

    Write title, summary, bias assessment and the answers for each harm, then submit the file.
    """
    given = options.of(context)
    with connection.connect(given) as client:
        view = client.run(run)
    config = view["config"]
    if view["status"] != "succeeded":
        raise InvalidInput(
            f"run {run} is {view['status']}; only one that has succeeded can be cited", field="run"
        )
    made = {
        "title": "",
        "summary": "",
        "change_type": ChangeType.UPGRADE,
        "training": {
            "model": config["model"],
            "steps": config["steps"],
            "dataset": config["dataset"],
            "device": None if config["device"] == "auto" else config["device"],
        },
        "runs": [run],
        "ethics": {
            "compliance_score": 0.0,
            "bias_assessment": "",
            "harms": {harm.value: {"answer": Answer.PRESENT, "note": ""} for harm in Harm},
        },
    }
    # In the order in which it is to be read, not in that of the letters.
    given.terminal.result(json_text.dumps(made, indent=2))
    return ExitCode.GOOD


@group.command("submit")
def submit(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A draft, JSON where the name ends so, or TOML.")
    ],
    *,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key gives the same proposal.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Submit a proposal."""
    given = options.of(context)
    written = requests.read_config(file.read_bytes(), name=file.name)
    with connection.connect(given) as client:
        view = client.propose(written, idempotency_key=idempotency_key)
    if json:
        documents.print_document(given.terminal, view)
    else:
        given.terminal.result(view["proposal_id"])
    return ExitCode.GOOD


@group.command("vote")
def vote(
    context: typer.Context,
    proposal: ProposalArgument,
    verdict: Annotated[Verdict, typer.Argument(metavar="VERDICT", help="pass or fail.")],
    *,
    reason: Annotated[list[str], typer.Option(help="Why; may be given again.")],
    side: Annotated[
        Side, typer.Option(help="A person casts human, a service account ai.")
    ] = Side.HUMAN,
    json: JsonOption = False,
) -> int:
    """Record a vote, signed and logged. It needs a reviewer who is not the author."""
    given = options.of(context)
    with connection.connect(given) as client:
        view = client.vote(proposal, verdict, reason, side=side)
    return _tell(given, view, json=json)


@group.command("validate")
def validate(
    context: typer.Context, proposal: ProposalArgument, *, json: JsonOption = False
) -> int:
    """Have the built-in reviewer look at a proposal and record the AI vote.

    It verifies the cited evidence and does a window of it again. Exits with 1 if its verdict is
    fail.
    """
    given = options.of(context)
    with (
        connection.connect(given) as client,
        phases.phase(given.terminal, "review", "verifying evidence, doing a window again") as this,
    ):
        view = client.validate(proposal)
        verdict = view["history"][-1]["verdict"]
        this.done = f"the reviewer says {verdict}"
    _tell(given, view, json=json)
    return ExitCode.GOOD if verdict == Verdict.PASS else ExitCode.FAILED


@group.command("stats")
def stats(context: typer.Context, *, json: JsonOption = False) -> int:
    """Show counts, the phase, and what the last recovery of the queue found."""
    given = options.of(context)
    with connection.connect(given) as client:
        told = client.proposal_stats()
    if json:
        documents.print_document(given.terminal, told)
        return ExitCode.GOOD
    recovery = told["recovery"]
    facts = {
        "Proposals": str(told["total"]),
        **{name.replace("_", " ").capitalize(): str(n) for name, n in told["by_state"].items()},
        "Records": str(told["records"]),
        "Phase": told["phase"],
        "Recovery": "never needed"
        if recovery is None
        else f"{recovery['at']}: {recovery['cause']}",
    }
    for label, value in facts.items():
        given.terminal.result(f"  {label:<{render.LABEL_WIDTH}}  {value}")
    return ExitCode.GOOD


def _tell(given: Options, view: Mapping[str, Any], *, json: bool) -> int:
    if json:
        documents.print_document(given.terminal, view)
        return ExitCode.GOOD
    training = view["training"]
    facts = {
        "Proposal": view["proposal_id"],
        "State": view["state"],
        "Author": view["author"],
        "Title": view["title"],
        "Training": f"{training['model']} on {training['dataset']}, {training['steps']} steps",
        "Runs": ", ".join(one["run_id"] for one in view["runs"]) or "none",
    }
    for side, cast in view["votes"].items():
        facts[f"{side} vote".capitalize()] = (
            "open" if cast is None else f"{cast['verdict']} by {cast['by']}, {cast['at'][:19]}"
        )
        for number, why in enumerate([] if cast is None else cast["reasons"], 1):
            facts[f"  {side} {number}"] = why
    if view["approval"] is not None:
        facts["Allows until"] = view["approval"]["expires_at"]
    for label, value in facts.items():
        given.terminal.result(f"  {label:<{render.LABEL_WIDTH}}  {value}")
    return ExitCode.GOOD
