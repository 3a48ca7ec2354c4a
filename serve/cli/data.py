"""`zpctl data`: what is known of data, what is found in it, and whether it may be trained on."""

import json as json_text
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from evidence.errors import InvalidInput
from evidence.verdict import Outcome
from governance.licences import NOASSERTION
from governance.manifest import PersonalData, Use, digest_of_files
from governance.pii import scan as scans
from governance.pii.detect import ALL, LEAST_SCORE
from governance.pii.entities import Entity
from governance.pii.scan import Found, Scanned
from serve.cli import connection, documents, live, options, phases, render, units
from serve.cli.options import ExitCode, JsonOption, Options
from serve.cli.render import Column
from trainers.data import own, store
from trainers.data.own import Given

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="See `zpctl datasets`.")]

data = typer.Typer(
    help="Add, scan, check, approve and show data.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@data.command()
def scan(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Text, .jsonl, or .json with `full_text`.")
    ],
    *,
    least_score: Annotated[
        float, typer.Option(metavar="SCORE", help="Leave out what is less sure, 0 to 1.")
    ] = LEAST_SCORE,
    only: Annotated[
        list[Entity] | None,
        typer.Option("--type", metavar="TYPE", help="Look for this type only; may be repeated."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many at once; else one a CPU.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Find personal data in a text, here, without a service.

    A finding is its type, record (line or element, from 0), place (code points, from 0) and score;
    what was found is never printed. Status 0, whatever is found.
    """
    given = options.of(context)
    if not file.is_file():
        raise InvalidInput(f"{file}: expected a file, found none", field="FILE")
    with phases.passing(given.terminal, "scan", "reading") as this:

        def progress(done: int, total: int) -> None:
            share = 100 * done // total if total else 100
            this.doing = f"{units.size(done)} of {units.size(total)}, {share} %"

        found = scans.scan(
            file, least_score=least_score, types=only or ALL, processes=processes, progress=progress
        )
        if json:
            _print_list(given, found)
        else:
            _print_counts(given, found)
    return ExitCode.GOOD


def _print_list(given: Options, found: Iterator[Scanned]) -> None:
    """Print a JSON list, a finding a line, as they come."""
    begun = "["
    for piece in found:
        for one in piece.found:
            given.terminal.result(f"{begun}{_as_json(one)}")
            begun = ","
    given.terminal.result("[]" if begun == "[" else "]")


def _as_json(one: Found) -> str:
    return json_text.dumps(
        {
            "type": one.type,
            "record": one.record,
            "start": one.start,
            "end": one.end,
            "score": one.score,
        }
    )


def _print_counts(given: Options, found: Iterator[Scanned]) -> None:
    counts: Counter[str] = Counter()
    scores: dict[str, float] = {}
    characters = records = 0
    for piece in found:
        characters += piece.characters
        records += piece.records
        for one in piece.found:
            counts[one.type] += 1
            scores[one.type] = max(scores.get(one.type, 0), one.score)
    columns = [
        Column("TYPE", is_number=False),
        Column("FOUND", is_number=True),
        Column("SUREST", is_number=True),
    ]
    rows = [[name, f"{count:,}", f"{scores[name]:.2f}"] for name, count in counts.most_common()]
    for line in render.table(live.frame_of(given.terminal), columns, rows) if rows else ():
        given.terminal.result(line)
    total = f"{sum(counts.values()):,} found" if rows else "nothing found"
    given.terminal.result(f"{total} in {records:,} records, {characters:,} characters")


@data.command()
def add(  # noqa: PLR0913 - its options are the fields of a dossier
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What runs will call it.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="IDX, .npy, .csv, or a text.", exists=True)
    ],
    *,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Labels of the images in FILE.", exists=True)
    ] = None,
    test: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same for testing.", exists=True)
    ] = None,
    test_labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Labels of the test images.", exists=True)
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of a .csv with the labels.")
    ] = None,
    test_share: Annotated[
        float, typer.Option(metavar="SHARE", help="Kept for testing where there is no --test.")
    ] = 0.1,
    licence: Annotated[
        str, typer.Option(metavar="SPDX", help="Licence of the data.")
    ] = NOASSERTION,
    basis: Annotated[
        str, typer.Option(metavar="TEXT", help="What that rests on.")
    ] = "whoever added the data stated none",
    citation: Annotated[str, typer.Option(metavar="TEXT", help="What to cite.")] = "",
    title: Annotated[str, typer.Option(metavar="TEXT", help="Name for people.")] = "",
    use: Annotated[list[Use], typer.Option(help="What it is meant for.")] = [Use.RESEARCH],  # noqa: B006 - typer copies it
    people: Annotated[
        PersonalData, typer.Option(help="Whether it is about people.")
    ] = PersonalData.UNKNOWN,
    statement: Annotated[
        str, typer.Option(metavar="TEXT", help="What that rests on.")
    ] = "whoever added the data said nothing",
    json: JsonOption = False,
) -> int:
    """Make your own data trainable: digests, a dossier, a scan, and what the gate says.

    The files are turned into those that trainers read and put into the cache of the service on this
    machine. Nobody has approved the data then: `zpctl data approve NAME` does.
    """
    given = options.of(context)
    files = Given(file, labels, test, test_labels, label, test_share, title)
    with (
        connection.connect(given) as client,
        phases.phase(given.terminal, "data", f"reading {file.name}") as this,
    ):
        made = own.make(files)
        cache = connection.settings().cache
        for held, content in made.files.items():
            store.admit(name, held, content, cache=cache, source=file.name, own=made.entry)
        this.doing = "taking it in"
        told = client.add_dataset(
            {
                "name": name,
                "data": made.entry.model_dump(mode="json"),
                "manifest": {
                    "version": digest_of_files(made.entry.digests)[:16],
                    "digests": name,
                    "sources": [f"local:{file.name}"],
                    "licence": {"data": licence, "basis": basis},
                    "citation": citation,
                    "uses": list(use),
                    "intended_use": title or f"what {name} is for",
                    "personal_data": {"contained": people, "statement": statement},
                },
            }
        )
        this.done = made.told
    _print_told(given, told, json=json)
    return ExitCode.GOOD


@data.command()
def approve(context: typer.Context, name: NameArgument, *, json: JsonOption = False) -> int:
    """Approve exactly the bytes that a data set has now; other bytes need another approval."""
    given = options.of(context)
    with connection.connect(given) as client:
        told = client.approve_dataset(name)
    _print_told(given, told, json=json)
    return ExitCode.GOOD


def _print_told(given: Options, told: dict[str, Any], *, json: bool) -> None:
    if json:
        documents.print_document(given.terminal, told)
        return
    for label, value in _facts(told):
        given.terminal.result(f"  {label:<{render.LABEL_WIDTH}}  {value}")
    given.terminal.result()
    _print_rules(given, told["gate"])


@data.command()
def check(context: typer.Context, name: NameArgument, *, json: JsonOption = False) -> int:
    """Say what the data gate would say of a data set now; status 1 unless it lets it through."""
    given = options.of(context)
    with connection.connect(given) as client:
        told = client.dataset(name)["gate"]
    if json:
        documents.print_document(given.terminal, told)
    else:
        _print_rules(given, told)
    return ExitCode.GOOD if told["outcome"] == Outcome.ALLOW else ExitCode.FAILED


def _print_rules(given: Options, told: dict[str, Any]) -> None:
    for rule in told["rules"]:
        given.terminal.result(f"{rule['outcome']:<15}{rule['rule']:<15}{rule['detail']}")
        if rule["cure"]:
            given.terminal.result(f"{'':<15}help: {rule['cure']}")
    given.terminal.result(f"{told['outcome']} by policy {told['policy_sha256'][:16]}")


@data.command()
def show(context: typer.Context, name: NameArgument, *, json: JsonOption = False) -> int:
    """Show all that is known of a data set: licence, digests, personal data, verdicts."""
    given = options.of(context)
    with connection.connect(given) as client:
        told = client.dataset(name)
    _print_told(given, told, json=json)
    return ExitCode.GOOD


def _facts(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    view, entry = told["dataset"], told["manifest"]["entry"]
    yield "Data set", f"{view['name']}: {view['title']}"
    yield "State", view["state"]
    if entry is not None:
        yield "Version", entry["version"]
        yield "Sources", ", ".join(entry["sources"])
        yield "Licence", f"{entry['licence']['data']}: {entry['licence']['basis']}"
        for wrapper in entry["licence"]["wrappers"]:
            yield "Wrapper", f"{wrapper['name']}, its own licence {wrapper['licence']}"
        yield "Citation", entry["citation"] or "none asked for"
        yield "Meant for", f"{', '.join(entry['uses'])}: {entry['intended_use']}"
        personal = entry["personal_data"]
        yield "People in it", f"{personal['contained']}: {personal['statement']}"
        approved = entry["approved"]
        by = f"by {approved['by']} on {approved['at']}" if approved else "by nobody"
        is_current = told["manifest"]["is_approved"] or approved is None
        yield "Approved", by if is_current else f"{by}, with other bytes"
    for file, held in view["files"].items():
        yield "File", f"{file}, {units.size(held['bytes'])}, {held['sha256']}"
    if told["pii"] is not None:
        yield "Scan", _scanned(told["pii"])
    for one in told["verdicts"][:3]:
        run = one["run_id"] or "refused at the door"
        yield "Verdict", f"{one['verdict']}, {run}, log entry {one['log_index']}"


def _scanned(report: dict[str, Any]) -> str:
    counts = {name: sum(scores.values()) for name, scores in report["scores"].items()}
    found = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    return f"{report['scanned_at'][:10]}: {found or 'nothing found'}"
