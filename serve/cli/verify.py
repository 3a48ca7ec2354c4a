"""`zpctl verify` and `zpctl evidence`: packs, of here and of elsewhere."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from evidence import trust
from evidence.archive import Pack, open_pack
from evidence.report import Report, as_text
from evidence.subject import NOTHING_KNOWN
from evidence.trust import Trusted
from evidence.verify import RULES, Verification
from serve import rebuild
from serve.cli import connection, documents, options, packs, phases, units
from serve.cli.options import ExitCode, JsonOption, RunArgument
from serve.cli.terminal import Terminal


def verify(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    pack: Annotated[
        str,
        typer.Argument(metavar="PACK", help="A run folder, a zip, a run's id, or its address."),
    ],
    *,
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file of the key that must have signed.")
    ] = None,
    log_key: Annotated[
        str | None, typer.Option(help="Verifier key of the log, or a file with it.")
    ] = None,
    tree_head: Annotated[
        Path | None, typer.Option(help="A tree head of that log that you kept.")
    ] = None,
    consistency: Annotated[
        Path | None, typer.Option(help="Proof that it and the pack's are of one log.")
    ] = None,
    witness_key: Annotated[
        list[str] | None, typer.Option(help="Verifier key of a witness that must have cosigned.")
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Id of a check without which the pack does not pass.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Make every check of an evidence pack and print the report.

    A run's id is looked up below $EVIDENCE_ROOT, and must be signed by the key of this service; or
    it is fetched from the service of --url, or of its address. For any other pack, --public-key
    says whom to trust.
    Exits with 0 passed, 1 a check failed, 2 no such pack, 4 cannot tell (not sealed, or a required
    check could not be made).
    """
    given = options.of(context)
    brought = trust.Given(
        public_key=public_key,
        log_key=log_key,
        tree_head=tree_head,
        consistency=consistency,
        witness_keys=witness_key or (),
        require=require or (),
    )
    trusted = trust.read(brought, checks=[rule.id for rule in RULES])
    with tempfile.TemporaryDirectory(prefix="zpctl-") as scratch:
        path, vouched = packs.locate(given, pack, scratch=Path(scratch))
        if trusted.public_key is not None:
            vouched = replace(vouched, why="the given key")
        elif vouched.home is not None:
            trusted = replace(trusted, public_key=vouched.key)
        if vouched.home is not None and trusted.known_log == NOTHING_KNOWN:
            trusted = replace(trusted, known_log=packs.log_of(vouched.home, path))
        with open_pack(path) as held:
            report = make_checks(held, given.terminal, trusted=trusted, scratch=Path(scratch))
    if json:
        documents.print_document(given.terminal, report.model_dump(mode="json"))
    else:
        text = as_text(report, colour=given.terminal.is_out_coloured)
        given.terminal.result(text.rstrip("\n"))
        if report.key_id is not None and trusted.public_key is not None:
            is_it = report.key_id == trusted.public_key.key_id
            why = vouched.why if is_it else f"a key that {vouched.why} led to"
            given.terminal.result(f"It is {why}.")
        elif report.key_id is not None:
            given.terminal.result(f"It is {vouched.why}.")
    return report.exit_code


def evidence(
    context: typer.Context,
    run: RunArgument,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; else RUN.zip here.")
    ] = None,
) -> int:
    """Download the evidence pack of a run as a zip.

    Of a run that is not sealed it is what there is so far, and says so.
    """
    given = options.of(context)
    target = output or Path(f"{run}.zip")
    part = target.with_name(f"{target.name}.part")
    with connection.connect(given) as client:
        try:
            with phases.phase(given.terminal, "evidence", f"downloading {target.name}") as this:
                size = client.download_evidence(run, part)
                this.done = f"{target.name}, {units.size(size)}"
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    given.terminal.result(str(target))
    return ExitCode.GOOD


def make_checks(pack: Pack, terminal: Terminal, *, trusted: Trusted, scratch: Path) -> Report:
    """Make all checks of a pack, showing which one is being made.

    Raises:
        OSError: A file of the pack cannot be read.
    """
    verification = Verification(
        pack,
        public_key=trusted.public_key,
        known_log=trusted.known_log,
        required=trusted.required,
        describe_model=rebuild.describer(cache=connection.settings().cache, scratch=scratch),
    )
    with phases.passing(terminal, "evidence", _check_name(0)) as this:
        for number, _ in enumerate(verification.run(), 1):
            this.doing = _check_name(number)
    return verification.report()


def _check_name(done: int) -> str:
    rule = RULES[min(done, len(RULES) - 1)]
    return f"check {rule.number} of {len(RULES)}: {rule.title}"
