"""`zpctl log` and `zpctl rotate`: the transparency log, and the key that signs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cluster import home_lock
from evidence import keyring, monitor
from evidence.errors import InvalidInput
from evidence.files import write_atomic
from evidence.log import merkle, note, tree_head
from evidence.log.note import Verifier
from evidence.log.tree_head import SignedTreeHead
from evidence.monitor import Double
from evidence.trust import read_verifier
from serve.cli import connection, documents, options, render
from serve.cli.options import ExitCode, JsonOption
from serve.cli.terminal import Terminal
from serve.client import Client, Json


def show(  # noqa: PLR0913 - one parameter for each option
    context: typer.Context,
    *,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the present tree head there.")
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A tree head that you kept: did it only grow?"),
    ] = None,
    prove: Annotated[
        str | None, typer.Option(metavar="A:B", help="Print the proof that size B goes on from A.")
    ] = None,
    log_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The log's key that you know, or a file with it."),
    ] = None,
    read: Annotated[
        bool, typer.Option("--read", help="Read every entry: is a run told twice?")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Show the transparency log, and check that it only grew.

    Keep a tree head (--save) where the operator cannot reach it. Later, --since asks the service to
    prove that its log goes on from there, and exits with 1 where it cannot. --read makes the tree
    of all entries, and exits with 1 where two of them tell one thing of a run differently.
    """
    given = options.of(context)
    with connection.connect(given) as client:
        if prove is not None:
            old_size, size = _sizes(prove)
            for one in client.log_consistency(old_size, size)["hashes"]:
                given.terminal.result(one)
            return ExitCode.GOOD
        view, data = client.log(), client.log_head()
        verifier = read_verifier(log_key) if log_key else Verifier.parse(view["key"])
        head = tree_head.verify(data, verifier)
        if since is not None:
            kept = tree_head.verify(since.read_bytes(), verifier)
            _require_grown(kept, head, client.log_consistency(kept.head.size, head.head.size))
            given.terminal.progress(f"it only grew, from {kept.head.size} to {head.head.size}")
        found = _doubles(client, head) if read else []
    if save is not None:
        write_atomic(save, data)
    if json:
        told = {"doubles": [asdict(one) for one in found]} if read else {}
        documents.print_document(given.terminal, {**view, "head": data.decode(), **told})
        return ExitCode.FAILED if found else ExitCode.GOOD
    _print_facts(given.terminal, view, head, found if read else None)
    return ExitCode.FAILED if found else ExitCode.GOOD


def _print_facts(
    terminal: Terminal, view: Json, head: SignedTreeHead, found: list[Double] | None
) -> None:
    """Print what is known of the log; `found` where it was read."""
    facts = {
        "Key": view["key"],
        "Entries": str(head.head.size),
        "Root": note.to_base64(head.head.root),
        "Cosigned": f"by {len(head.note.signatures) - 1} of {len(view['witnesses'])} witnesses",
    }
    if found is not None:
        facts["Read"] = f"all entries, the tree that was signed; {len(found)} told twice"
    for label, value in facts.items():
        terminal.result(f"  {label:<{render.LABEL_WIDTH}}  {value}")
    for double in found or []:
        step = "" if double.told.step is None else f" of step {double.told.step}"
        terminal.result(
            f"  told twice: {double.told.kind}{step} of run {double.told.run_id}, "
            f"entries {double.first} and {double.second}"
        )


def _doubles(client: Client, head: SignedTreeHead) -> list[Double]:
    """Read the log and return what it tells twice.

    Raises:
        BadProof: What it serves is not the tree that it signed.
    """

    def fetch(path: str) -> bytes:
        return client.log_tile(path.removeprefix("tile/"))

    return list(monitor.doubles(monitor.entries(head.head, fetch)))


def _sizes(text: str) -> tuple[int, int]:
    old_size, _, size = text.partition(":")
    if not (old_size.isdecimal() and size.isdecimal()):
        raise InvalidInput(f"--prove: expected two sizes as A:B, found {text[:40]!r}")
    return int(old_size), int(size)


def _require_grown(kept: SignedTreeHead, head: SignedTreeHead, told: dict[str, object]) -> None:
    """Raise unless a proof shows that the log only grew.

    Raises:
        BadProof: It does not.
    """
    hashes = told["hashes"]
    assert isinstance(hashes, list), "the client checked the answer"
    merkle.require_consistent(
        old_size=kept.head.size,
        old_root=kept.head.root,
        size=head.head.size,
        root=head.head.root,
        proof=[note.from_base64(str(one), what="proof") for one in hashes],
    )


def rotate_key(context: typer.Context) -> int:
    """Replace the key that signs, while the service is stopped.

    The old key signs the new one, so that whoever trusts the old one can trust what comes; then its
    private half is deleted. The log's own key never changes.
    """
    given = options.of(context)
    home = connection.settings().home
    keys = home / "keys"
    if not (keys / keyring.SERVICE_KEY).exists():
        raise InvalidInput(f"{home}: there is no service with a key", cure="zpctl up makes one")
    with home_lock.hold(home):
        old = keyring.Keyring.open_or_create(keys).key.key_id
        new = keyring.rotate(keys).key.key_id
    given.terminal.result(f"  {'Old':<{render.LABEL_WIDTH}}  {old}")
    given.terminal.result(f"  {'New':<{render.LABEL_WIDTH}}  {new}")
    return ExitCode.GOOD
